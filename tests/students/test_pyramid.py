"""Which map of a network is which level."""

import keras
import pytest
from keras import layers

from pcd_tf import students
from pcd_tf.students import _pyramid
from tests.students import networks


def names(network):
    levels = students.pyramid(network)
    return {level: x._keras_history.operation.name for level, x in levels.items()}


def test_the_ends_of_stages_are_found_and_nothing_inside_of_blocks():
    stages = {f"P{n}": f"stage{n - 1}" for n in (2, 3, 4, 5)}
    assert names(networks.encoder()) == stages  # not "pad2", "inner1" or the like
    assert names(networks.encoder(96)) == stages


def test_what_runs_beside_a_shortcut_is_inside_of_its_block():
    images = keras.Input((None, None, 3))
    stage = layers.Conv2D(4, 3, strides=4, padding="same", name="stage")(images)
    shortcut = layers.Conv2D(8, 1, strides=2, name="shortcut")(stage)
    inner = layers.Conv2D(2, 1, name="inner")(stage)  # still at the stage's stride, and later
    inner = layers.Conv2D(8, 3, strides=2, padding="same", name="strided")(inner)
    network = keras.Model(images, layers.Add(name="next")([shortcut, inner]))
    assert names(network) == {"P2": "stage", "P3": "next"}


def test_a_network_that_stops_early_has_fewer_levels():
    assert names(networks.encoder(depth=3)) == {"P2": "stage1", "P3": "stage2"}
    assert names(networks.encoder(depth=1)) == {"P1": "stage0"}


def test_maps_off_the_trunk_are_taken_where_there_is_no_other():
    images = keras.Input((None, None, 3))
    fine = layers.Conv2D(4, 3, strides=4, padding="same", name="fine")(images)
    middle = layers.Conv2D(4, 3, strides=2, padding="same", name="middle")(fine)
    coarse = layers.Conv2D(4, 3, strides=2, padding="same", name="coarse")(middle)
    up = layers.UpSampling2D(2, name="up")(coarse)
    merged = layers.Concatenate(name="merged")([up, middle])
    output = layers.Concatenate(name="output")([layers.UpSampling2D(2)(merged), fine])
    # "fine" goes past "merged" and "coarse"
    expected = {"P2": "output", "P3": "merged", "P4": "coarse"}
    assert names(keras.Model(images, output)) == expected


def test_given_levels_are_measured_not_believed():
    network = networks.encoder()
    maps = {f"P{n}": network.get_layer(f"stage{n}").output for n in range(5)}
    network.pyramid_outputs = maps  # each a level too fine
    assert names(network) == {f"P{n}": f"stage{n - 1}" for n in (2, 3, 4, 5)}
    network.pyramid_outputs = {"P3": network.get_layer("relu2").output}
    assert names(network) == {"P3": "relu2", "P5": "stage4"}


@pytest.mark.parametrize("size", [None, 56])
def test_a_stride_that_is_no_power_of_two_has_no_level(size):
    images = keras.Input((size, size, 3))
    patches = layers.Conv2D(4, 14, strides=14)(images)
    network = keras.Model(images, patches)
    assert _pyramid.strides(network, [patches]) == [14.0]
    assert names(network) == {}


def test_strides_of_unpadded_convolutions_are_those_of_neighbouring_pixels():
    images = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 5, strides=2)(layers.Conv2D(4, 7, strides=2)(images))
    narrow = layers.Conv2D(4, 3, strides=(1, 2), padding="same")(x)
    pooled = layers.GlobalAveragePooling2D(keepdims=True)(x)
    network = keras.Model(images, [x, narrow, pooled])
    assert _pyramid.strides(network, network.outputs) == [4.0, None, None]
