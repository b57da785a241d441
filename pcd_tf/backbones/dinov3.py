"""DINOv3 backbones of KerasHub as maps, for images of any size."""

import math
from collections.abc import Mapping
from typing import Any

import keras
import keras_hub
import numpy as np
from keras import layers, ops

from pcd_tf.backbones import _dino
from pcd_tf.backbones._tokens import PatchMap, PatchTokens, num_whole_patches


@keras.saving.register_keras_serializable(package="pcd_tf")
class DINOv3(keras_hub.models.Backbone):
    """KerasHub's DINOv3 as a map of patch tokens, for any size that is a multiple of the patch.

    `keras_hub.models.DINOV3Backbone` is made for one size of image and gives all tokens. Here the
    same blocks take any size, oblong ones too: its positions are rotations, computed for the size.
    Class token and registers take part, and are left out of the map.
    Source: Siméoni et al., "DINOv3", 2025, arXiv 2508.10104.

    Shapes: B images of H x W pixels, patches of p pixels a side, C channels.

    Args:
        settings: those of `keras_hub.models.DINOV3Backbone` that describe the network, in its
            names: `patch_size`, `num_layers`, `hidden_dim`, `num_heads`, `intermediate_dim`, ...
        dtype: policy of the computation; None takes the global one.

    Call arguments:
        inputs: float (B, H, W, 3), normalised; H and W multiples of p.

    Returns:
        float (B, H / p, W / p, C), after the last norm.

    Raises:
        ValueError: when the sides of the images are no multiples of the patch.

    Example:
        preset = keras_hub.models.DINOV3Backbone.from_preset("dinov3_vit_small_lvd1689m")
        DINOv3.from_keras_hub(preset)(keras.ops.zeros((1, 224, 320, 3))).shape  # (1, 14, 20, 384)
    """

    def __init__(self, settings: Mapping[str, Any], *, dtype: Any = None, **kwargs: Any) -> None:
        settings = dict(settings)
        patch_size, num_registers = settings["patch_size"], settings.get("num_register_tokens", 4)
        one_patch = keras_hub.models.DINOV3Backbone(
            image_shape=(patch_size, patch_size, 3), dtype=dtype, **settings
        )
        images = keras.Input((None, None, 3), name="images")
        tokens = PatchTokens(
            patch_size,
            settings["hidden_dim"],
            num_register_tokens=num_registers,
            dtype=dtype,
            name="tokens",
        )(images)
        rotations = Rotations(
            patch_size,
            settings["hidden_dim"] // settings["num_heads"],
            settings.get("rope_theta", 100.0),
            dtype=dtype,
            name="rotations",
        )(images)
        tokens, _ = one_patch.encoder(  # it takes any number of tokens
            tokens, position_embeddings=rotations, num_prefix_tokens=1 + num_registers
        )
        tokens = one_patch.layernorm(tokens)
        feature_map = PatchMap(patch_size, 1 + num_registers, dtype=dtype, name="map")(
            tokens, images
        )
        super().__init__(inputs=images, outputs=feature_map, dtype=dtype, **kwargs)
        self.settings = settings

    @classmethod
    def from_keras_hub(cls, backbone: keras_hub.models.DINOV3Backbone) -> "DINOv3":
        """Makes the network of KerasHub's, with a copy of its weights."""
        made = cls(_dino.settings(backbone), name=backbone.name)
        _dino.copy(backbone, made)
        return made

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "settings": self.settings}


@keras.saving.register_keras_serializable(package="pcd_tf")
class Rotations(layers.Layer):
    """Computes by which angles each patch rotates queries and keys: rotary positions in 2-D.

    Rows and columns of the patches' centres, each from -1 to 1 over the image, times frequencies.
    KerasHub's layer of this kind wants the size of the image when the model is made.
    Source: Siméoni et al., "DINOv3", 2025, arXiv 2508.10104, section 3.2; Su et al., "RoFormer",
    2021, arXiv 2104.09864.

    Args:
        patch_size: p, pixels.
        head_dim: channels of a head of the attention; a multiple of 4.
        theta: base of the wavelengths; 100 in DINOv3.

    Call arguments:
        images: (B, H, W, 3), of which the size counts.

    Returns:
        cosines and sines, float (H / p * W / p, head_dim) each.
    """

    def __init__(self, patch_size: int, head_dim: int, theta: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.patch_size = patch_size
        self.head_dim = head_dim
        self.theta = theta

    def call(self, images: Any) -> Any:
        frequencies = self.theta ** (-np.arange(0, 1, 4 / self.head_dim))  # (head_dim / 4,)
        frequencies = (2 * math.pi * frequencies).astype("float32")
        height, width = (side // self.patch_size for side in ops.shape(images)[1:3])
        rows = ops.expand_dims(_centres(height), (1, 2)) * frequencies  # [h, 1, head_dim / 4]
        columns = ops.expand_dims(_centres(width), (0, 2)) * frequencies  # [1, w, head_dim / 4]
        rows = ops.tile(rows, (1, width, 1))  # [h, w, head_dim / 4]
        columns = ops.tile(columns, (height, 1, 1))  # [h, w, head_dim / 4]
        angles = ops.concatenate([rows, columns, rows, columns], axis=-1)  # [h, w, head_dim]
        angles = ops.reshape(angles, (-1, self.head_dim))  # [h*w, head_dim]
        return (
            ops.cast(ops.cos(angles), self.compute_dtype),
            ops.cast(ops.sin(angles), self.compute_dtype),
        )

    def compute_output_shape(self, input_shape: Any) -> Any:
        shape = (num_whole_patches(input_shape, self.patch_size), self.head_dim)
        return shape, shape

    def get_config(self) -> dict[str, Any]:
        own = {"patch_size": self.patch_size, "head_dim": self.head_dim, "theta": self.theta}
        return {**super().get_config(), **own}


def _centres(num_patches: Any) -> Any:
    """Places of the patches' centres along one side of the image, from -1 to 1."""
    places = ops.cast(ops.arange(num_patches), "float32") + 0.5
    return 2.0 * places / ops.cast(num_patches, "float32") - 1.0
