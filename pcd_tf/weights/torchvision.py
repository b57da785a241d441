"""ResNets between torchvision's names and layouts and KerasHub's, both ways."""

import re
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from pcd_tf.errors import UserError

Array = npt.NDArray[Any]

FIRST = "conv1.weight"  # the first array of every ResNet

_LAYER = re.compile(r"(?:conv1|stack(\d+)_block(\d+)_(\d))_(conv|bn)")
_CONV_TO_KERAS = (2, 3, 1, 0)  # (out, in, h, w) -> (h, w, in, out)
_CONV_TO_TORCH = (3, 2, 0, 1)
_NORM = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
_CLASSIFIER = ("fc.weight", "fc.bias")  # a backbone has none
_COUNTER = "num_batches_tracked"  # PyTorch's count of training steps; inference has no use for it


def shapes(backbone: keras.Model) -> dict[str, tuple[int, ...]]:
    """Lists the arrays that the backbone needs: torchvision's names -> shapes in PyTorch.

    Raises:
        UserError: when the backbone is no ResNet of KerasHub.
    """
    return {name: _torch_shape(variable) for name, (_, variable) in _named(backbone).items()}


def to_keras(state: Mapping[str, Array], backbone: keras.Model) -> dict[str, Array]:
    """Gives a torchvision state dict the names and layouts of the backbone's variables.

    The classifier `fc` and the counters of BatchNorm are left out, as a backbone has neither.
    Every other name that is none of the backbone's is kept as it is, and missing ones stay missing,
    so that `arrays.assign` finds both.

    Args:
        state: torchvision's names -> arrays, `layer1.0.conv1.weight` for example.
        backbone: a KerasHub ResNet.

    Returns:
        names as `arrays.variables(backbone)` has them -> arrays.

    Example:
        arrays.assign(arrays.variables(backbone), to_keras(state, backbone), origin="resnet18.pth")
    """
    named = _named(backbone)
    converted = {}
    for name, array in state.items():
        if name in named:
            converted[named[name][0]] = _transposed(array, _CONV_TO_KERAS)
        elif name not in _CLASSIFIER and not name.endswith(f".{_COUNTER}"):
            converted[name] = array
    return converted


def from_keras(backbone: keras.Model) -> dict[str, Array]:
    """Returns the backbone's variables as torchvision's state dict has them, without `fc`.

    Each BatchNorm gets its counter `num_batches_tracked`, an int64 of 0.

    Args:
        backbone: a KerasHub ResNet.

    Returns:
        torchvision's names -> arrays in PyTorch's layouts, for `load_state_dict`.
    """
    state: dict[str, Array] = {}
    for name, (_, variable) in _named(backbone).items():
        array = keras.ops.convert_to_numpy(variable)
        state[name] = np.ascontiguousarray(_transposed(array, _CONV_TO_TORCH))
        if name.endswith(".running_var"):
            state[f"{name.removesuffix('running_var')}{_COUNTER}"] = np.zeros((), "int64")
    return state


def _named(backbone: keras.Model) -> dict[str, tuple[str, keras.Variable]]:
    """Torchvision's names -> name and variable of the backbone, in the backbone's order."""
    named = {}
    for layer in backbone.layers:
        for variable in layer.weights:
            name = f"{_module(layer.name)}.{_NORM.get(variable.name, 'weight')}"
            named[name] = (f"{layer.name}/{variable.name}", variable)
    return named


def _module(layer: str) -> str:
    """Torchvision's name of a KerasHub layer.

    conv1_bn -> bn1, stack0_block2_3_conv -> layer1.2.conv3, stack1_block0_0_bn ->
    layer2.0.downsample.1: number 0 in a block is the convolution on the shortcut.
    """
    found = _LAYER.fullmatch(layer)
    if not found:
        raise UserError(
            "Expected a ResNet of KerasHub, whose layers are named conv1_conv, stack0_block0_1_bn "
            f"and so on. Received: a network with the layer {layer}."
        )
    stack, block, number, kind = found.groups()
    if stack is None:
        return f"{kind}1"
    prefix = f"layer{int(stack) + 1}.{block}"
    if number == "0":
        return f"{prefix}.downsample.{('conv', 'bn').index(kind)}"
    return f"{prefix}.{kind}{number}"


def _torch_shape(variable: keras.Variable) -> tuple[int, ...]:
    shape = tuple(variable.shape)
    return tuple(shape[axis] for axis in _CONV_TO_TORCH) if len(shape) == 4 else shape


def _transposed(array: Array, axes: tuple[int, ...]) -> Array:
    return np.transpose(array, axes) if array.ndim == 4 else array
