"""The vector heads of published teachers: an MLP of plain layers, in the order of PyTorch's."""

from collections.abc import Sequence

import keras
from keras import layers


def mlp(
    channels: int,
    units: Sequence[int],
    *,
    biases: Sequence[bool] | None = None,
    norm: bool = True,
    last_norm: bool = False,
    activation: str = "relu",
) -> keras.Sequential:
    """Builds Dense -> BatchNorm -> activation, repeated, then a last Dense.

    Each is a layer of its own, so that the index of a layer is the one it has in PyTorch's
    Sequential: that is how `weights.mlp` finds its arrays.

    Args:
        channels: C, those of the backbone.
        units: width of each Dense; the last is D.
        biases: whether each Dense has a bias; none has one by default.
        norm: whether a BatchNorm stands behind each Dense but the last.
        last_norm: whether one without scale and shift stands behind the last, as in MoCo v3.
        activation: of the hidden layers, one that SpatialAdaptor knows.

    Returns:
        (B, C) -> (B, D), named "head".

    Example:
        mlp(2048, (4096, 256), last_norm=True)  # MoCo v3's for ResNet-50
    """
    head = keras.Sequential([keras.Input((channels,))], name="head")
    for i, (width, bias) in enumerate(zip(units, biases or [False] * len(units), strict=True)):
        is_last = i == len(units) - 1
        head.add(layers.Dense(width, use_bias=bias, name=f"dense_{i}"))
        if last_norm if is_last else norm:
            head.add(_norm(i, affine=not is_last))
        if not is_last:
            head.add(layers.Activation(activation, name=f"{activation}_{i}"))
    return head


def none(channels: int) -> keras.Sequential:
    """Builds the head of a teacher that has none: the embedding is the map itself."""
    parts = [keras.Input((channels,)), layers.Identity(name="identity")]
    return keras.Sequential(parts, name="head")


def _norm(i: int, *, affine: bool) -> layers.BatchNormalization:
    return layers.BatchNormalization(
        momentum=0.9,  # PyTorch's momentum 0.1 and epsilon 1e-5, as the published heads have
        epsilon=1e-5,
        center=affine,
        scale=affine,
        synchronized=True,
        name=f"norm_{i}",
    )
