"""The PyTorch ResNet: strict about names, equal to the Keras ResNet of the same arrays."""

import keras_hub
import numpy as np
import pytest

from pcd_tf.weights import torch_resnet, torchvision

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module", params=["basic_block", "bottleneck_block"])
def backbone(request):
    made = keras_hub.models.ResNetBackbone(
        [64],
        [7],
        [64, 16, 24, 32],
        [2, 1, 2, 1],
        [1, 2, 2, 2],
        request.param,
        image_shape=(None, None, 3),
    )
    random = np.random.default_rng(0)
    for weight in made.weights:
        if weight.name in ("gamma", "moving_variance"):
            weight.assign(random.uniform(0.5, 1.5, weight.shape))
        elif weight.name in ("beta", "moving_mean"):
            weight.assign(random.normal(0.0, 0.2, weight.shape))
    return made


def test_maps_equal_those_of_keras(backbone):
    images = np.random.default_rng(1).normal(size=(2, 65, 90, 3)).astype("float32")
    maps = torch_resnet.network(torchvision.from_keras(backbone))(images)
    expected = backbone(images)
    assert maps.keys() == {"layer1", "layer2", "layer3", "layer4"}
    np.testing.assert_allclose(maps["layer4"], expected, atol=1e-5 * np.max(np.abs(expected)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state | {"fc.bias": np.zeros(3, "float32")}, "Unexpected.*fc.bias"),
        (lambda state: without(state, "bn1.bias"), "Missing.*bn1.bias"),
        (lambda state: without(state, "layer1.1.conv1.weight"), "layer1.1"),
        (
            lambda state: state | {"bn1.running_var": np.ones(3, "float32")},
            "size mismatch for bn1.running_var",
        ),
    ],
)
def test_names_and_shapes_are_strict(backbone, change, message):
    with pytest.raises(RuntimeError, match=f"(?s){message}"):
        torch_resnet.network(change(torchvision.from_keras(backbone)))


def without(state, name):
    return {key: value for key, value in state.items() if key != name}
