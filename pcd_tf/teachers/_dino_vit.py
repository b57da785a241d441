"""The Vision Transformers of DINO: what its published sizes have in common."""

from collections.abc import Mapping
from typing import Any

from pcd_tf.backbones.vit import VisionTransformer
from pcd_tf.normalisation import IMAGENET_MEAN, IMAGENET_STD
from pcd_tf.teachers import _head, _layout
from pcd_tf.teachers._teacher import Teacher
from pcd_tf.weights import timm

# Behind the head's MLP come an L2 norm and the prototypes (`last_layer`): the teacher stops before.
LAYOUT = _layout.Layout(
    container="teacher",
    backbone="backbone.",
    head="head.mlp.",
    unused=("head.last_layer.",),
    beside=("student", "dino_loss"),
    whole="the full checkpoint of DINO's code (its name ends in _full_checkpoint.pth)",
    backbone_names=timm,
)


def build(
    name: str,
    hidden_dim: int,
    *,
    num_heads: int,
    num_layers: int = 12,
    patch_size: int = 16,
    image_size: int = 224,
    head_units: tuple[int, int] = (2048, 256),
    has_norm: bool = False,
) -> Teacher:
    """Builds a teacher, randomly initialised; what is not given is that of the published ones.

    `has_norm` says whether the head has BatchNorms, as an option of DINO's code adds them.
    """
    backbone = VisionTransformer(
        patch_size,
        num_layers,
        num_heads,
        hidden_dim,
        4 * hidden_dim,
        image_size=image_size,
        name="vit",
    )
    hidden_units, output_units = head_units
    head = _head.mlp(
        hidden_dim,
        (hidden_units, hidden_units, output_units),
        biases=(True, True, True),
        norm=has_norm,
        activation="gelu",
    )
    return Teacher(name, backbone, head, IMAGENET_MEAN, IMAGENET_STD)


def has_norm(state: Mapping[str, Any]) -> bool:
    """Says whether the head in a checkpoint has BatchNorms."""
    network, _ = LAYOUT.split(state)
    return f"{LAYOUT.head}1.running_mean" in network
