"""MobileNetV3 without its classifier, from the rows of the paper's tables."""

from collections.abc import Sequence
from typing import NamedTuple

import keras
import keras_hub

from pcd_tf.students._depthwise import use_depthwise_kernels


class Row(NamedTuple):
    """One bottleneck, in the order of the paper's columns after the operator's `kernel`."""

    kernel: int
    expansion: int  # channels
    filters: int
    squeeze_excite: bool
    activation: str
    stride: int


def mobilenet_v3(rows: Sequence[Row], *, name: str) -> keras_hub.models.MobileNetBackbone:
    """Builds a randomly initialised MobileNetV3 up to the last convolution before the pooling.

    Source: Howard et al., "Searching for MobileNetV3", ICCV 2019, arXiv 1905.02244, tables 1 and 2.
    Padding, squeeze-and-excite (a quarter of the expanded channels, a multiple of 8, hard sigmoid)
    and parameter counts are torchvision's too. BatchNorm has epsilon 1e-5 and momentum 0.9, as
    KerasHub and timm have it; torchvision's has 1e-3 and 0.99. Kernels are drawn from He's normal
    over the fan-out of a group, as timm draws them: KerasHub has Glorot's. No dropout.

    Args:
        rows: the bottlenecks of the table; the first expands nothing.
        name: the model's name.

    Returns:
        A backbone: normalised images (B, H, W, 3) -> float (B, ceil(H / 32), ceil(W / 32), C), C
        six times the last bottleneck's. The variables are made under the caller's strategy scope.
    """
    first, *others = rows
    stacks: list[list[Row]] = []
    for row in others:  # a new stack for each new number of channels, as KerasHub counts them
        if not stacks or stacks[-1][0].filters != row.filters:
            stacks.append([])
        stacks[-1].append(row)
    backbone = keras_hub.models.MobileNetBackbone(
        stackwise_num_blocks=[len(stack) for stack in stacks],
        stackwise_expansion=[[row.expansion for row in stack] for stack in stacks],
        stackwise_num_filters=[[row.filters for row in stack] for stack in stacks],
        stackwise_kernel_size=[[row.kernel for row in stack] for stack in stacks],
        stackwise_num_strides=[[row.stride for row in stack] for stack in stacks],
        stackwise_se_ratio=[[_ratio(row) for row in stack] for stack in stacks],
        stackwise_activation=[[row.activation for row in stack] for stack in stacks],
        stackwise_padding=[[row.kernel // 2 for row in stack] for stack in stacks],
        input_num_filters=16,
        depthwise_filters=first.filters,
        depthwise_stride=first.stride,
        depthwise_residual=first.stride == 1,
        # Of 16 channels KerasHub makes 8 by a half; by a quarter it would have to round 4 up to 8.
        squeeze_and_excite=0.5 if first.squeeze_excite else None,
        last_layer_filter=6 * rows[-1].filters,
        output_num_filters=None,
        image_shape=(None, None, 3),
        name=name,
    )
    for layer in backbone._flatten_layers():
        if isinstance(layer, keras.layers.Conv2D):
            _initialise_as_timm(layer)
    use_depthwise_kernels(backbone)
    return backbone


def _ratio(row: Row) -> float | None:
    return 0.25 if row.squeeze_excite else None


def _initialise_as_timm(layer: keras.layers.Conv2D) -> None:
    he_normal = keras.initializers.VarianceScaling(
        2.0 * layer.groups, "fan_out", "untruncated_normal"
    )
    layer.kernel.assign(he_normal(layer.kernel.shape, dtype=layer.kernel.dtype))
