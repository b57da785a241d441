"""Vision Transformers whose patch tokens are a map, for images of any size."""

import math
from typing import Any

import keras
import keras_hub

from pcd_tf.backbones._tokens import PatchMap, PatchTokens

POSITIONS = ("learned", "sine_cosine")


@keras.saving.register_keras_serializable(package="pcd_tf")
class VisionTransformer(keras_hub.models.FeaturePyramidBackbone):
    """A Vision Transformer that gives its patch tokens, after the last norm, as a map.

    The network is timm's and DeiT's to the last detail (pre-norm, LayerNorm with epsilon 1e-6,
    biases, exact GELU, a class token), its blocks are those of KerasHub's `ViTBackbone`. That one
    is made for one size of image and gives tokens; this one takes any size that is a multiple of
    the patch, and interpolates its positions as timm does (bicubic, antialiased). `to_keras_hub`
    makes the other of it, with the same weights.
    Source: Dosovitskiy et al., "An Image is Worth 16x16 Words", 2021, arXiv 2010.11929.

    Shapes: B images of H x W pixels, patches of p pixels a side, C channels.

    Args:
        patch_size: p, pixels.
        num_layers: transformer blocks.
        num_heads: of the attention; they share the C channels.
        hidden_dim: C.
        mlp_dim: width inside the blocks' MLPs.
        image_size: side of the square images that the table of positions is for, pixels.
        positions: "learned", or "sine_cosine": MoCo v3's fixed ones, which are not trained.
        dtype: policy of the computation; None takes the global one.

    Call arguments:
        inputs: float (B, H, W, 3), normalised; H and W multiples of p.

    Returns:
        float (B, H / p, W / p, C). `pyramid_outputs` holds it as the level of its stride, P4 for
        patches of 16 pixels; it is empty where p is no power of 2.

    Raises:
        ValueError: when `positions` is unknown, channels do not divide into heads, or the sides of
            the images are no multiples of the patch.

    Example:
        vit = VisionTransformer(16, num_layers=12, num_heads=6, hidden_dim=384, mlp_dim=1536)
        vit(keras.ops.zeros((1, 224, 320, 3))).shape  # (1, 14, 20, 384)
    """

    def __init__(
        self,
        patch_size: int,
        num_layers: int,
        num_heads: int,
        hidden_dim: int,
        mlp_dim: int,
        *,
        image_size: int = 224,
        positions: str = "learned",
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        if positions not in POSITIONS:
            raise ValueError(
                f"Expected positions out of {', '.join(POSITIONS)}. "
                f"Received: positions={positions!r}."
            )
        if hidden_dim % num_heads or image_size % patch_size:
            raise ValueError(
                "Expected channels that are a multiple of the heads, and an image size that is one "
                f"of the patch. Received: {hidden_dim} channels, {num_heads} heads, an image of "
                f"{image_size} pixels, patches of {patch_size}."
            )
        settings = {
            "patch_size": patch_size,
            "num_layers": num_layers,
            "num_heads": num_heads,
            "hidden_dim": hidden_dim,
            "mlp_dim": mlp_dim,
        }
        one_patch = _keras_hub((patch_size, patch_size), settings, dtype)
        images = keras.Input((None, None, 3), name="images")
        tokens = PatchTokens(
            patch_size,
            hidden_dim,
            table_size=image_size // patch_size,
            fixed=positions == "sine_cosine",
            dtype=dtype,
            name="tokens",
        )(images)
        tokens = one_patch.get_layer("vit_encoder")(tokens)  # it takes any number of tokens
        feature_map = PatchMap(patch_size, dtype=dtype, name="map")(tokens, images)
        super().__init__(inputs=images, outputs=feature_map, dtype=dtype, **kwargs)
        self.settings = settings
        self.image_size = image_size
        self.positions = positions
        level = math.log2(patch_size)
        self.pyramid_outputs = {f"P{level:.0f}": feature_map} if level.is_integer() else {}

    def to_keras_hub(self, image_size: int | tuple[int, int]) -> keras_hub.models.ViTBackbone:
        """Makes KerasHub's own ViT for one size of image, with a copy of the weights.

        Args:
            image_size: side, or (height, width), pixels; multiples of the patch.

        Returns:
            Normalised images (B, height, width, 3) -> tokens (B, 1 + h*w, C), the class's first.
        """
        size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
        made = _keras_hub(size, self.settings, self.dtype_policy)
        ours, embedding = self.get_layer("tokens"), made.get_layer("vit_patching_and_embedding")
        height, width = (side // self.settings["patch_size"] for side in size)
        positions = keras.ops.concatenate(ours.resized_positions((height, width)), axis=1)
        embedding.position_embedding.embeddings.assign(positions[0])
        embedding.class_token.assign(ours.class_token)
        _copy(ours.patches, embedding.patch_embedding)
        _copy(self.get_layer("vit_encoder"), made.get_layer("vit_encoder"))
        return made

    def get_config(self) -> dict[str, Any]:
        own = {"image_size": self.image_size, "positions": self.positions}
        return {**super().get_config(), **self.settings, **own}


def _keras_hub(
    size: tuple[int, ...], settings: dict[str, int], dtype: Any
) -> keras_hub.models.ViTBackbone:
    return keras_hub.models.ViTBackbone(image_shape=(*size, 3), dtype=dtype, **settings)


def _copy(source: keras.layers.Layer, target: keras.layers.Layer) -> None:
    for one, other in zip(source.weights, target.weights, strict=True):
        other.assign(one)
