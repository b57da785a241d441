"""From images to the tokens of a Vision Transformer, and from tokens back to a map."""

from typing import Any

import keras
from keras import initializers, layers, ops

from pcd_tf.backbones import _positions


@keras.saving.register_keras_serializable(package="pcd_tf")
class PatchTokens(layers.Layer):
    """Turns images of any size into tokens: the class token, registers, then one for each patch.

    What KerasHub's own layers do at one fixed size. Positions come from a table for the size of the
    pre-training, interpolated for the images at hand; they are added to the class token (its own
    position) and to the patches, not to the registers.

    Shapes: B images of H x W pixels, patches of p pixels a side, C channels, R registers.

    Args:
        patch_size: p, pixels.
        hidden_dim: C.
        table_size: patches a side of the table of positions; None for no table.
        fixed: whether the table is MoCo v3's sine-cosine and not trained.
        antialias: of the interpolation; see `_positions.resize_table`.
        num_register_tokens: R.

    Call arguments:
        images: float (B, H, W, 3), H and W multiples of p.

    Returns:
        float (B, 1 + R + H / p * W / p, C).

    Raises:
        ValueError: when H or W is no multiple of p. Where they are known only when the graph runs,
            TensorFlow's error there is that of a reshape.
    """

    def __init__(
        self,
        patch_size: int,
        hidden_dim: int,
        *,
        table_size: int | None = None,
        fixed: bool = False,
        antialias: bool = True,
        num_register_tokens: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.patch_size = patch_size
        self.hidden_dim = hidden_dim
        self.table_size = table_size
        self.fixed = fixed
        self.antialias = antialias
        self.num_register_tokens = num_register_tokens
        self.patches = layers.Conv2D(
            hidden_dim,
            patch_size,
            strides=patch_size,
            kernel_initializer="lecun_normal",  # as the authors of ViT; Glorot counts p * p outputs
            dtype=self.dtype_policy,
            name="patches",
        )

    def build(self, input_shape: Any) -> None:
        self.patches.build(input_shape)
        small = initializers.TruncatedNormal(stddev=0.02)
        shape = (1, 1, self.hidden_dim)
        self.class_token = self.add_weight(shape=shape, initializer=small, name="class_token")
        if self.num_register_tokens:
            shape = (1, self.num_register_tokens, self.hidden_dim)
            self.registers = self.add_weight(shape=shape, initializer=small, name="registers")
        if self.table_size is not None:
            self.positions = self.add_weight(
                shape=(1, 1 + self.table_size**2, self.hidden_dim),
                initializer=self._sine_cosine if self.fixed else small,
                trainable=not self.fixed,
                autocast=False,  # interpolated in float32
                name="positions",
            )

    def call(self, images: Any) -> Any:
        x = self.patches(whole_patches(images, self.patch_size))  # [B, h, w, C]
        batch, height, width = ops.shape(x)[:3]
        x = ops.reshape(x, (batch, height * width, self.hidden_dim))  # [B, h*w, C]
        first = self.class_token  # [1, 1, C]
        if self.table_size is not None:
            own, patches = self.resized_positions((height, width))
            x = x + ops.cast(patches, x.dtype)
            first = first + ops.cast(own, x.dtype)
        if self.num_register_tokens:
            first = ops.concatenate([first, self.registers], axis=1)  # [1, 1 + R, C]
        first = ops.tile(ops.cast(first, x.dtype), (batch, 1, 1))  # [B, 1 + R, C]
        return ops.concatenate([first, x], axis=1)  # [B, 1 + R + h*w, C]

    def resized_positions(self, size: tuple[Any, Any]) -> tuple[Any, Any]:
        """Computes the positions for (h, w) patches: float32 (1, 1, C) and (1, h*w, C)."""
        side = (self.table_size, self.table_size)
        table = ops.reshape(
            self.positions[0, 1:], (*side, self.hidden_dim)
        )  # [g*g, C] -> [g, g, C]
        table = _positions.resize_table(table, size, antialias=self.antialias)  # [h, w, C]
        return self.positions[:, :1], ops.reshape(table, (1, -1, self.hidden_dim))  # [1, h*w, C]

    def compute_output_shape(self, input_shape: Any) -> Any:
        num_patches = num_whole_patches(input_shape, self.patch_size)
        length = None if num_patches is None else 1 + self.num_register_tokens + num_patches
        return (input_shape[0], length, self.hidden_dim)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "patch_size": self.patch_size,
            "hidden_dim": self.hidden_dim,
            "table_size": self.table_size,
            "fixed": self.fixed,
            "antialias": self.antialias,
            "num_register_tokens": self.num_register_tokens,
        }

    def _sine_cosine(self, shape: Any, dtype: Any = None) -> Any:
        """MoCo v3's table, and nothing for the class token."""
        table = ops.convert_to_tensor(
            _positions.sine_cosine(self.table_size or 1, shape[-1]), dtype
        )
        table = ops.reshape(table, (1, -1, shape[-1]))  # [g, g, C] -> [1, g*g, C]
        return ops.concatenate([ops.zeros((1, 1, shape[-1]), dtype), table], axis=1)


@keras.saving.register_keras_serializable(package="pcd_tf")
class PatchMap(layers.Layer):
    """Lays the tokens of the patches out as a map; class token and registers are left out.

    Args:
        patch_size: p, pixels.
        num_prefix_tokens: how many tokens stand before those of the patches.

    Call arguments:
        tokens: float (B, prefix + H / p * W / p, C).
        images: (B, H, W, 3), of which the size counts.

    Returns:
        float (B, H / p, W / p, C).
    """

    def __init__(self, patch_size: int, num_prefix_tokens: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.patch_size = patch_size
        self.num_prefix_tokens = num_prefix_tokens

    def call(self, tokens: Any, images: Any) -> Any:
        batch, height, width = ops.shape(images)[:3]
        size = (batch, height // self.patch_size, width // self.patch_size, tokens.shape[-1])
        return ops.reshape(tokens[:, self.num_prefix_tokens :], size)  # [B, h*w, C] -> [B, h, w, C]

    def compute_output_shape(self, tokens_shape: Any, images_shape: Any) -> Any:
        size = whole_patches_shape(images_shape, self.patch_size)
        return (tokens_shape[0], *size, tokens_shape[-1])

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "patch_size": self.patch_size,
            "num_prefix_tokens": self.num_prefix_tokens,
        }


def whole_patches(images: Any, patch_size: int) -> Any:
    """Returns the images, refused when their sides are no multiples of the patch."""
    if None not in whole_patches_shape(images.shape, patch_size):
        return images
    batch, height, width = ops.shape(images)[:3]
    # A reshape to whole patches: it changes nothing, and fails where pixels are left over.
    size = (batch, height // patch_size * patch_size, width // patch_size * patch_size)
    return ops.reshape(images, (*size, images.shape[-1]))  # [B, H, W, 3]


def whole_patches_shape(images_shape: Any, patch_size: int) -> tuple[int | None, int | None]:
    """Computes the map's (h, w) for a shape of images, None for what is not known yet."""
    sides = images_shape[1:3]
    if any(side is not None and (side % patch_size or not side) for side in sides):
        raise ValueError(
            f"Expected images with sides that are multiples of the patch, {patch_size} pixels: "
            f"crop or resize them. Received: {sides[0]} x {sides[1]} pixels."
        )
    height, width = (None if side is None else side // patch_size for side in sides)
    return height, width


def num_whole_patches(images_shape: Any, patch_size: int) -> int | None:
    """Computes h * w for a shape of images; None when that is not known yet."""
    height, width = whole_patches_shape(images_shape, patch_size)
    return None if height is None or width is None else height * width
