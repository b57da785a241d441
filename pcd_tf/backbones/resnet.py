"""ResNets as KerasHub backbones, in torchvision's layout."""

import keras
import keras_hub

# depth -> (kind of block, number of blocks in each of the four stacks); He et al., table 1.
_STACKS = {
    18: ("basic_block", (2, 2, 2, 2)),
    34: ("basic_block", (3, 4, 6, 3)),
    50: ("bottleneck_block", (3, 4, 6, 3)),
}


def resnet(depth: int, *, synchronized: bool = True) -> keras_hub.models.ResNetBackbone:
    """Builds a randomly initialised ResNet without its classifier, for images of any size.

    The network is torchvision's to the last detail, so that weights can be handed over either way:
    symmetric padding, the stride in a bottleneck's 3x3 convolution, BatchNorm with epsilon 1e-5 and
    momentum 0.9 (0.1 in PyTorch's counting), kernels drawn from He's normal over the fan-out.
    The variables are made under the caller's strategy scope and global dtype policy.
    Source: He et al., "Deep Residual Learning for Image Recognition", 2016, arXiv 1512.03385.

    Args:
        depth: 18, 34 or 50 layers.
        synchronized: whether BatchNorm takes its training statistics over all replicas.

    Returns:
        A backbone: normalised images (B, H, W, 3) -> float (B, ceil(H / 32), ceil(W / 32), C), C is
        512, or 2048 for depth 50. Its `pyramid_outputs` are P2..P5, at strides 4, 8, 16 and 32.

    Raises:
        ValueError: when there is no ResNet of this depth here.

    Example:
        resnet(18)(keras.ops.zeros((1, 64, 64, 3))).shape  # (1, 2, 2, 512)
    """
    if depth not in _STACKS:
        raise ValueError(
            f"Expected a depth out of {', '.join(map(str, _STACKS))}. Received: depth={depth!r}."
        )
    block_type, num_blocks = _STACKS[depth]
    backbone = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 128, 256, 512],
        stackwise_num_blocks=list(num_blocks),
        stackwise_num_strides=[1, 2, 2, 2],
        block_type=block_type,
        image_shape=(None, None, 3),
        name=f"resnet{depth}",
    )
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.Conv2D):
            _initialise_as_torchvision(layer)
        elif isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = synchronized
    return backbone


def zero_init_residual(backbone: keras_hub.models.ResNetBackbone) -> None:
    """Sets the last BatchNorm scale of each residual block to 0: it starts as its shortcut.

    MoCo v3 pre-trains its ResNets so, by torchvision's option of this name.
    Source: Goyal et al., "Accurate, Large Minibatch SGD", 2017, arXiv 1706.02677, section 5.1.
    """
    last = {"basic_block": "_2_bn", "bottleneck_block": "_3_bn"}[backbone.block_type]
    for layer in backbone.layers:
        if layer.name.endswith(last):
            layer.gamma.assign(keras.ops.zeros_like(layer.gamma))


def _initialise_as_torchvision(layer: keras.layers.Conv2D) -> None:
    """Draws the kernel anew: KerasHub takes Keras's default, Glorot, and has no option for it."""
    he_normal = keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
    layer.kernel.assign(he_normal(layer.kernel.shape, dtype=layer.kernel.dtype))
