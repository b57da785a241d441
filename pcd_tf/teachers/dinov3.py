"""DINOv3: the backbone alone, patches of 16 pixels, from a KerasHub preset.

Source: Siméoni et al., "DINOv3", 2025, arXiv 2508.10104. KerasHub's presets:
dinov3_vit_small_lvd1689m, _base_, _large_ and more.

The weights have a licence of their own, the DINOv3 License: read it at
https://ai.meta.com/resources/models-and-libraries/dinov3-license/ before you use them, or pass on a
student made with them.

It has no projection head here: the embedding of a pixel is the patch token itself.
"""

import os

import keras_hub

from pcd_tf.backbones.dinov3 import DINOv3
from pcd_tf.normalisation import IMAGENET_MEAN, IMAGENET_STD
from pcd_tf.teachers import _head, _preset
from pcd_tf.teachers._teacher import Teacher

_SMALL = {
    "patch_size": 16,
    "num_layers": 12,
    "hidden_dim": 384,
    "num_heads": 6,
    "intermediate_dim": 1536,
    "num_register_tokens": 4,
    "use_key_bias": False,
}


def build() -> Teacher:
    """Builds DINOv3's ViT-S/16, randomly initialised: (B, H, W, 3) -> (B, H / 16, W / 16, 384)."""
    backbone = DINOv3(_SMALL, name="dinov3")
    head = _head.none(backbone.output_shape[-1])
    return Teacher("dinov3", backbone, head, IMAGENET_MEAN, IMAGENET_STD)


def from_checkpoint(path: str | os.PathLike[str]) -> Teacher:
    """Builds the teacher from a preset of any of DINOv3's Vision Transformers.

    Args:
        path: name of a KerasHub preset, which is downloaded, or a local preset directory.

    Raises:
        UserError: when there is no such preset, it is of another kind, or it does not load.

    Example:
        from_checkpoint("dinov3_vit_small_lvd1689m")
    """
    kind = keras_hub.models.DINOV3Backbone
    return _preset.teacher("dinov3", path, kind, DINOv3.from_keras_hub)
