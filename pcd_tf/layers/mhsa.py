"""MHSA: multi-head self-attention over the pixels of a map."""

import math
from typing import Any

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable(package="pcd_tf")
class MHSA(layers.Layer):
    """Relates the pixels of the student's map by self-attention and widens its receptive field.

    Pre-norm and residual, y = x + out(attention(norm(x))), with the output projection at zero at
    the start, so that plugging it in changes nothing at step 0. Used behind the student's backbone
    during distillation and thrown away afterwards.
    Source: the module is of Huang & Guo, "Pixel-Wise Contrastive Distillation", 2023, arXiv
    2211.00218; its widths there are not known to us: heads of 64 channels, the pre-norm form, the
    zero start and the optional position encoding are this project's.

    Shapes: B images, H x W pixels (any), C channels.

    Args:
        head_dim: int, channels of a head, 64 by default; there are max(1, C // head_dim) heads.
        position: "none" (default) or "sincos", a 2-D sine-cosine position added to norm(x).

    Call arguments:
        inputs: float (B, H, W, C).

    Returns:
        float (B, H, W, C).

    Raises:
        ValueError: when head_dim is below 1, position is unknown, or "sincos" is asked of channels
            not divisible by 4.

    Example:
        >>> MHSA()(keras.random.normal((2, 7, 7, 128))).shape
        TensorShape([2, 7, 7, 128])
    """

    def __init__(self, head_dim: int = 64, position: str = "none", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if head_dim < 1:
            raise ValueError(f"`head_dim` must be at least 1. Received: head_dim={head_dim}")
        if position not in ("none", "sincos"):
            raise ValueError(
                f"`position` must be 'none' or 'sincos'. Received: position={position!r}"
            )
        self.head_dim = head_dim
        self.position = position

    def build(self, input_shape: Any) -> None:
        channels = input_shape[-1]
        if self.position == "sincos" and channels % 4:
            raise ValueError(
                "`position='sincos'` needs channels divisible by 4: sine and cosine of y and x. "
                f"Received: {channels} channels"
            )
        self.num_heads = max(1, channels // self.head_dim)
        width = self.num_heads * self.head_dim
        self.norm = layers.LayerNormalization(epsilon=1e-6, name="norm", dtype=self.dtype_policy)
        self.qkv = layers.Dense(3 * width, name="qkv", dtype=self.dtype_policy)
        self.out = layers.Dense(
            channels, kernel_initializer="zeros", name="out", dtype=self.dtype_policy
        )
        self.norm.build(input_shape)
        self.qkv.build(input_shape)
        self.out.build((*input_shape[:-1], width))
        self.built = True

    def call(self, inputs: Any) -> Any:
        height, width = ops.shape(inputs)[1:3]
        x = self.norm(inputs)
        if self.position == "sincos":
            x = x + ops.cast(_sincos(height, width, inputs.shape[-1]), x.dtype)
        qkv = ops.reshape(
            self.qkv(x), (-1, height * width, 3, self.num_heads, self.head_dim)
        )  # [B, H*W, 3, heads, head_dim]
        attended = ops.dot_product_attention(
            qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
        )  # [B, H*W, heads, head_dim]
        attended = ops.reshape(
            attended, (-1, height, width, self.num_heads * self.head_dim)
        )  # [B, H, W, heads * head_dim]
        return inputs + self.out(attended)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "head_dim": self.head_dim, "position": self.position}


def _sincos(height: Any, width: Any, channels: int) -> Any:
    """2-D sine-cosine position, (H, W, C): a quarter of C for each of sin y, cos y, sin x, cos x.

    Source: Vaswani et al., "Attention Is All You Need", 2017, arXiv 1706.03762, section 3.5 (base
    10000), taken per axis as in MoCo v3's ViT.
    """
    quarter = channels // 4
    rates = ops.exp(-math.log(10000.0) * ops.arange(quarter, dtype="float32") / quarter)
    y = ops.arange(height, dtype="float32")[:, None] * rates  # [H, C/4]
    x = ops.arange(width, dtype="float32")[:, None] * rates  # [W, C/4]
    waves_y = ops.concatenate([ops.sin(y), ops.cos(y)], axis=-1)[:, None]  # [H, 1, C/2]
    waves_x = ops.concatenate([ops.sin(x), ops.cos(x)], axis=-1)[None]  # [1, W, C/2]
    return ops.concatenate(
        [
            ops.broadcast_to(waves_y, (height, width, 2 * quarter)),
            ops.broadcast_to(waves_x, (height, width, 2 * quarter)),
        ],
        axis=-1,
    )  # [H, W, C]
