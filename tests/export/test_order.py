"""Settings and student brought together."""

import dataclasses

import keras
import pytest

from export._order import order as make
from pcd_tf.configs.export import Config


def test_nothing_asked_for_is_any_size_and_number(student):
    made = make(Config(), student)
    assert made.input_shape == (None, None, None, 3)
    assert made.size is None
    assert made.size_or_run == (40, 40)
    assert (made.precision, made.naming) == ("float32", "torchvision")


def test_a_format_of_fixed_shapes_gets_one_image_of_the_run(student):
    made = make(Config(), student, fixed=True)
    assert made.input_shape == (1, 40, 40, 3)


def test_what_is_asked_for(student):
    config = Config(image_size="48x32", batch_size=5, precision="int8", naming="detectron2")
    made = make(config, student, fixed=True)
    assert made.input_shape == (5, 48, 32, 3)
    assert made.size_or_run == (48, 32)
    assert (made.precision, made.naming) == ("int8", "detectron2")


def test_a_student_of_one_size_settles_it(student):
    fixed = dataclasses.replace(student, backbone=one_size())
    assert make(Config(), fixed).input_shape == (None, 32, 64, 3)
    with pytest.raises(
        ValueError, match=r"takes\. Received: 40 x 40 pixels, for images \(None, 32"
    ):
        make(Config(image_size="40"), fixed)


def one_size():
    images = keras.Input((32, 64, 3))
    return keras.Model(images, keras.layers.Conv2D(4, 3, strides=32, padding="same")(images))


def test_images_that_are_given(student, tmp_path):
    with pytest.raises(ValueError, match="Expected images"):
        make(Config(data_dir=str(tmp_path)), student)
