"""The Vision Transformers of MoCo v3: what its published sizes have in common."""

import os

import keras

from pcd_tf.backbones.vit import VisionTransformer
from pcd_tf.normalisation import IMAGENET_MEAN, IMAGENET_STD
from pcd_tf.teachers import _head, _layout
from pcd_tf.teachers._teacher import Teacher
from pcd_tf.weights import checkpoint, timm

# The momentum encoder is the teacher; the base encoder is the one that was trained.
LAYOUT = _layout.Layout(
    container="state_dict",
    backbone="momentum_encoder.",
    head="momentum_encoder.head.",
    unused=("base_encoder.", "predictor."),
    whole="the checkpoint of MoCo v3's pre-training (vit-s-300ep.pth.tar, say)",
    backbone_names=timm,
)


def build(
    name: str,
    hidden_dim: int,
    *,
    num_heads: int = 12,  # for ViT-S too, where others have 6
    num_layers: int = 12,
    patch_size: int = 16,
    image_size: int = 224,
    head_units: tuple[int, int] = (4096, 256),
) -> Teacher:
    """Builds a teacher, randomly initialised; what is not given is that of the published ones.

    Its head has three layers; the students' heads of PCD's authors have two with it.
    """
    backbone = VisionTransformer(
        patch_size,
        num_layers,
        num_heads,
        hidden_dim,
        4 * hidden_dim,
        image_size=image_size,
        positions="sine_cosine",
        name="vit",
    )
    hidden_units, output_units = head_units
    units = (hidden_units, hidden_units, output_units)
    head = _head.mlp(hidden_dim, units, last_norm=True)
    return Teacher(name, backbone, head, IMAGENET_MEAN, IMAGENET_STD, student_layers=2)


def fill(teacher: Teacher, path: str | os.PathLike[str]) -> Teacher:
    """Sets the teacher's variables from a published checkpoint.

    Positions are fixed, so a file need not hold them: then they are the teacher's own.
    """
    state = checkpoint.read(path)
    positions = teacher.backbone.get_layer("tokens").positions
    for name in [name for name in state if name.endswith("momentum_encoder.cls_token")]:
        beside = name.replace("cls_token", "pos_embed")
        state.setdefault(beside, keras.ops.convert_to_numpy(positions))
    return _layout.fill(teacher, state, LAYOUT, path)
