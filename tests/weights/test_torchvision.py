"""torchvision's ResNets and KerasHub's: the same names, layouts and outputs, both ways."""

import keras
import numpy as np
import pytest

from pcd_tf.backbones.resnet import resnet
from pcd_tf.weights import arrays, torchvision
from tests import goldens, small_teachers


def names_of(blocks, convs, stages_with_shortcut):
    """Writes torchvision's names down by hand, for a ResNet of these numbers of blocks."""
    modules = [("conv1", "bn1")]
    for stage, count in enumerate(blocks, start=1):
        for block in range(count):
            place = f"layer{stage}.{block}"
            modules += [(f"{place}.conv{i}", f"{place}.bn{i}") for i in range(1, convs + 1)]
            if block == 0 and stage in stages_with_shortcut:
                modules.append((f"{place}.downsample.0", f"{place}.downsample.1"))
    norms = ("weight", "bias", "running_mean", "running_var")
    return {
        name
        for conv, norm in modules
        for name in [f"{conv}.weight", *(f"{norm}.{kind}" for kind in norms)]
    }


@pytest.mark.parametrize(
    ("depth", "names"),
    [
        (18, names_of((2, 2, 2, 2), 2, {2, 3, 4})),
        (34, names_of((3, 4, 6, 3), 2, {2, 3, 4})),
        (50, names_of((3, 4, 6, 3), 3, {1, 2, 3, 4})),
    ],
)
def test_names_and_shapes_are_torchvisions(depth, names):
    shapes = torchvision.shapes(resnet(depth))
    assert shapes.keys() == names
    assert shapes["conv1.weight"] == (64, 3, 7, 7)
    assert shapes["bn1.running_var"] == (64,)
    last = {18: (512, 512, 3, 3), 34: (512, 512, 3, 3), 50: (512, 512, 3, 3)}[depth]
    assert shapes["layer4.1.conv2.weight"] == last
    assert shapes["layer2.0.downsample.0.weight"] == (
        (512, 256, 1, 1) if depth == 50 else (128, 64, 1, 1)
    )


@pytest.fixture
def backbone():
    return small_teachers.resnet(50)


@pytest.fixture
def state(backbone):
    return goldens.draw(torchvision.shapes(backbone))


def test_every_array_lands_in_its_variable(backbone, state):
    converted = torchvision.to_keras(state, backbone)
    arrays.assign(arrays.variables(backbone), converted, origin="the test")
    kernel = state["layer1.0.conv2.weight"]
    received = backbone.get_layer("stack0_block0_2_conv").kernel
    np.testing.assert_array_equal(received[1, 2, 3, 4], kernel[4, 3, 1, 2])
    shortcut = backbone.get_layer("stack1_block0_0_bn")
    np.testing.assert_array_equal(shortcut.gamma, state["layer2.0.downsample.1.weight"])
    np.testing.assert_array_equal(
        shortcut.moving_variance, state["layer2.0.downsample.1.running_var"]
    )


def test_there_and_back_is_the_same(backbone, state):
    converted = torchvision.to_keras(state, backbone)
    arrays.assign(arrays.variables(backbone), converted, origin="the test")
    again = torchvision.from_keras(backbone)
    counters = {
        name: array for name, array in again.items() if name.endswith("num_batches_tracked")
    }
    assert again.keys() - counters.keys() == state.keys()
    for name, array in state.items():
        np.testing.assert_array_equal(again[name], array)
        assert again[name].flags["C_CONTIGUOUS"]
    assert counters.keys() == {
        name.replace("running_var", "num_batches_tracked")
        for name in state
        if "running_var" in name
    }
    assert {(array.shape, array.dtype.name) for array in counters.values()} == {((), "int64")}


def test_classifier_and_counters_are_left_out(backbone, state):
    more = {
        "fc.weight": np.zeros((1000, 256)),
        "fc.bias": np.zeros(1000),
        "bn1.num_batches_tracked": np.zeros((), "int64"),
    }
    assert torchvision.to_keras(more, backbone) == {}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda state: state.pop("layer1.0.bn2.bias"), "missing: stack0_block0_2_bn/beta"),
        (
            lambda state: state.update({"layer3.0.conv1.weight": np.zeros((1, 1, 1, 1))}),
            "left over: layer3.0.conv1.weight",
        ),
        (
            lambda state: state.update({"layer1.0.conv1.weight": np.zeros((64, 32, 1, 1))}),
            r"stack0_block0_1_conv/kernel \(expected \(1, 1, 64, 64\), received \(1, 1, 32, 64\)\)",
        ),
        (lambda state: state.update({"bn1.bias": np.zeros((64, 1, 1, 1))}), "conv1_bn/beta"),
    ],
)
def test_what_does_not_fit_is_left_to_be_found(backbone, state, spoil, message):
    spoil(state)
    with pytest.raises(ValueError, match=message):
        arrays.assign(
            arrays.variables(backbone), torchvision.to_keras(state, backbone), origin="the test"
        )


def test_another_network_is_refused():
    network = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, name="stem")])
    with pytest.raises(ValueError, match="Expected a ResNet of KerasHub.*Received: .*layer stem"):
        torchvision.shapes(network)
