"""DINOv2 backbones of KerasHub as maps, for images of any size."""

from collections.abc import Mapping
from typing import Any

import keras
import keras_hub

from pcd_tf.backbones import _dino
from pcd_tf.backbones._tokens import PatchMap, PatchTokens


@keras.saving.register_keras_serializable(package="pcd_tf")
class DINOv2(keras_hub.models.Backbone):
    """KerasHub's DINOv2 as a map of patch tokens, for any size that is a multiple of the patch.

    `keras_hub.models.DINOV2Backbone` is made for one size of square images and gives all tokens.
    Here the same blocks take any size, oblong ones too: the table of positions is interpolated as
    KerasHub does for that size. Class token and registers take part, and are left out of the map.
    Source: Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision", 2023,
    arXiv 2304.07193; registers: Darcet et al., 2023, arXiv 2309.16588.

    Shapes: B images of H x W pixels, patches of p pixels a side, C channels.

    Args:
        settings: those of `keras_hub.models.DINOV2Backbone` that describe the network, in its
            names: `patch_size`, `num_layers`, `hidden_dim`, `num_heads`, `intermediate_dim`, ...
        dtype: policy of the computation; None takes the global one.

    Call arguments:
        inputs: float (B, H, W, 3), normalised; H and W multiples of p.

    Returns:
        float (B, H / p, W / p, C), after the last norm.

    Raises:
        ValueError: when the sides of the images are no multiples of the patch.

    Example:
        preset = keras_hub.models.DINOV2Backbone.from_preset("dinov2_small")
        DINOv2.from_keras_hub(preset)(keras.ops.zeros((1, 224, 308, 3))).shape  # (1, 16, 22, 384)
    """

    def __init__(self, settings: Mapping[str, Any], *, dtype: Any = None, **kwargs: Any) -> None:
        settings = dict(settings)
        patch_size, num_registers = settings["patch_size"], settings.get("num_register_tokens", 0)
        table = settings.get("position_embedding_shape", (518, 518))
        one_patch = keras_hub.models.DINOV2Backbone(
            image_shape=(patch_size, patch_size, 3), dtype=dtype, **settings
        )
        images = keras.Input((None, None, 3), name="images")
        tokens = PatchTokens(
            patch_size,
            settings["hidden_dim"],
            table_size=table[0] // patch_size,
            antialias=settings.get("antialias_in_interpolation", False),
            num_register_tokens=num_registers,
            dtype=dtype,
            name="tokens",
        )(images)
        tokens, _ = one_patch.encoder(tokens)  # it takes any number of tokens
        tokens = one_patch.layernorm(tokens)
        feature_map = PatchMap(patch_size, 1 + num_registers, dtype=dtype, name="map")(
            tokens, images
        )
        super().__init__(inputs=images, outputs=feature_map, dtype=dtype, **kwargs)
        self.settings = settings

    @classmethod
    def from_keras_hub(cls, backbone: keras_hub.models.DINOV2Backbone) -> "DINOv2":
        """Makes the network of KerasHub's, with a copy of its weights."""
        made = cls(_dino.settings(backbone), name=backbone.name)
        _dino.copy(backbone, made)
        positions = made.get_layer("tokens").positions
        positions.assign(backbone.embeddings.position_embeddings)
        return made

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "settings": self.settings}
