"""DINOv2: the backbone alone, patches of 14 pixels, from a KerasHub preset; Apache 2.0.

Source: Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision", 2023,
arXiv 2304.07193. KerasHub's presets: dinov2_small, _base, _large, _giant, and the same with
registers, dinov2_with_registers_small and so on.

It has no projection head here: the embedding of a pixel is the patch token itself.
"""

import os

import keras_hub

from pcd_tf.backbones.dinov2 import DINOv2
from pcd_tf.normalisation import IMAGENET_MEAN, IMAGENET_STD
from pcd_tf.teachers import _head, _preset
from pcd_tf.teachers._teacher import Teacher

_SMALL = {
    "patch_size": 14,
    "num_layers": 12,
    "hidden_dim": 384,
    "num_heads": 6,
    "intermediate_dim": 1536,
    "position_embedding_shape": (518, 518),
}


def build() -> Teacher:
    """Builds DINOv2's ViT-S/14, randomly initialised: (B, H, W, 3) -> (B, H / 14, W / 14, 384)."""
    backbone = DINOv2(_SMALL, name="dinov2")
    head = _head.none(backbone.output_shape[-1])
    return Teacher("dinov2", backbone, head, IMAGENET_MEAN, IMAGENET_STD)


def from_checkpoint(path: str | os.PathLike[str]) -> Teacher:
    """Builds the teacher from a preset of any of DINOv2's sizes.

    Args:
        path: name of a KerasHub preset, which is downloaded, or a local preset directory.

    Raises:
        UserError: when there is no such preset, it is of another kind, or it does not load.

    Example:
        from_checkpoint("dinov2_small")
    """
    kind = keras_hub.models.DINOV2Backbone
    return _preset.teacher("dinov2", path, kind, DINOv2.from_keras_hub)
