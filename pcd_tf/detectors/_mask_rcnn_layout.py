"""A torchvision-layout ResNet as a list of convolutions, for building it in another library."""

import dataclasses
from typing import Any

import keras
import keras_hub
import numpy as np
import numpy.typing as npt

from pcd_tf import students
from pcd_tf.errors import UserError
from pcd_tf.weights import torchvision

Array = npt.NDArray[Any]

_NUM_CONVOLUTIONS = {"basic_block": 2, "bottleneck_block": 3}
_NORM = ("weight", "bias", "running_mean", "running_var")  # Keras: gamma, beta, mean, variance
_TO_KERAS = (2, 3, 1, 0)  # (out, in, h, w) -> (h, w, in, out)


@dataclasses.dataclass(frozen=True)
class Convolution:
    """A convolution without bias, and the BatchNorm behind it.

    Args:
        name: torchvision's, `layer1.0.conv1`.
        norm: of the BatchNorm, `layer1.0.bn1`.
        filters: channels out.
        size: pixels a side of the kernel.
        stride: in pixels.
    """

    name: str
    norm: str
    filters: int
    size: int
    stride: int


@dataclasses.dataclass(frozen=True)
class Block:
    """A residual block; `shortcut` is None where the block's input is added as it is."""

    convolutions: tuple[Convolution, ...]
    shortcut: Convolution | None


@dataclasses.dataclass(frozen=True)
class Layout:
    """A ResNet: the stem, stacks of blocks, and the arrays of its layers in Keras's layouts.

    Args:
        stem: the first convolution.
        stacks: the four stacks of blocks, whose outputs are the levels 2 to 5.
        arrays: names of layers -> their arrays, in the order of Keras's `layer.weights`.
    """

    stem: Convolution
    stacks: tuple[tuple[Block, ...], ...]
    arrays: dict[str, list[Array]]


def describe(backbone: keras.Model) -> Layout:
    """Takes a KerasHub ResNet apart.

    Raises:
        UserError: when the backbone is no ResNet in torchvision's layout; names the remedy.
    """
    config = backbone.get_config() if isinstance(backbone, keras_hub.models.ResNetBackbone) else {}
    is_torchvision = (
        config.get("block_type") in _NUM_CONVOLUTIONS
        and list(config["input_conv_kernel_sizes"]) == [7]
        and list(config["stackwise_num_strides"]) == [1, 2, 2, 2]
        and not config["use_pre_activation"]
    )
    if not is_torchvision:
        raise UserError(
            "model=mask_rcnn: expected a ResNet in torchvision's layout (resnet18, resnet34 or "
            f"resnet50). Received: {backbone.name}, a {type(backbone).__name__}. Use "
            "--model=retinanet, which takes any student."
        )
    shapes = torchvision.shapes(backbone)

    def convolution(name: str, norm: str, stride: int) -> Convolution:
        filters, _, size, _ = shapes[f"{name}.weight"]
        return Convolution(name, norm, filters, size, stride)

    def block(prefix: str, stride: int) -> Block:
        numbers = range(1, _NUM_CONVOLUTIONS[config["block_type"]] + 1)
        strided = len(numbers) - 1  # the first 3x3: of two, or the one in a bottleneck's middle
        shortcut = f"{prefix}.downsample"
        return Block(
            tuple(
                convolution(f"{prefix}.conv{n}", f"{prefix}.bn{n}", stride if n == strided else 1)
                for n in numbers
            ),
            convolution(f"{shortcut}.0", f"{shortcut}.1", stride)
            if f"{shortcut}.0.weight" in shapes
            else None,
        )

    stacks = [
        tuple(block(f"layer{i + 1}.{j}", stride if j == 0 else 1) for j in range(num_blocks))
        for i, (num_blocks, stride) in enumerate(
            zip(config["stackwise_num_blocks"], config["stackwise_num_strides"], strict=True)
        )
    ]
    return Layout(convolution("conv1", "bn1", 2), tuple(stacks), _arrays(backbone))


def maps(backbone: keras.Model, images: Array) -> dict[str, Array]:
    """Computes the maps "2" to "5" of normalised images (B, H, W, 3), in float32."""
    network = backbone
    if backbone.compute_dtype != "float32":
        network = type(backbone).from_config({**backbone.get_config(), "dtype": "float32"})
        network.set_weights(backbone.get_weights())
    pyramid = keras.Model(network.input, students.pyramid(network))
    found = pyramid(images, training=False)
    return {name.removeprefix("P"): keras.ops.convert_to_numpy(x) for name, x in found.items()}


def _arrays(backbone: keras.Model) -> dict[str, list[Array]]:
    state = torchvision.from_keras(backbone)
    arrays: dict[str, list[Array]] = {}
    for name, array in state.items():
        layer, _, kind = name.rpartition(".")
        if array.ndim == 4:
            arrays[layer] = [np.transpose(array, _TO_KERAS)]
        elif kind == "running_var":
            arrays[layer] = [state[f"{layer}.{x}"] for x in _NORM]
    return arrays
