"""DINO ResNet-50: head 2048-2048-2048-256, weights from the authors' full checkpoint.

Source: Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", 2021,
arXiv 2104.14294. The file has to be the full checkpoint: the one of the backbone alone has no head.
"""

import os

from pcd_tf.backbones.resnet import resnet
from pcd_tf.teachers import _head, _layout
from pcd_tf.teachers._teacher import IMAGENET_MEAN, IMAGENET_STD, Teacher
from pcd_tf.weights import checkpoint

# Behind the head's MLP come an L2 norm and the prototypes (`last_layer`): the teacher stops before.
LAYOUT = _layout.Layout(
    container="teacher",
    backbone="backbone.",
    head="head.mlp.",
    unused=("head.last_layer.",),
    beside=("student", "dino_loss"),
    whole="the full checkpoint of DINO's code (its name ends in _full_checkpoint.pth)",
)
_NORM = f"{LAYOUT.head}1.running_mean"  # in files whose head was trained with BatchNorm


def build(*, has_norm: bool = False) -> Teacher:
    """Builds the teacher, randomly initialised: (B, H, W, 3) -> (B, h, w, 256).

    The head has biases and GELU, and stops before DINO's L2 norm and prototypes.

    Args:
        has_norm: whether a BatchNorm stands behind each hidden layer of the head, an option of the
            authors' code.
    """
    return Teacher(
        name="dino_resnet50",
        backbone=resnet(50),
        head=_head.mlp(
            2048, (2048, 2048, 256), biases=(True, True, True), norm=has_norm, activation="gelu"
        ),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )


def from_checkpoint(path: str | os.PathLike[str]) -> Teacher:
    """Builds the teacher with the teacher of a full checkpoint of the authors' code.

    Args:
        path: the `.pth` of the pre-training, or the same as `.safetensors` or `.npz`.

    Raises:
        ValueError: when the file cannot be read, or its arrays are not this teacher's.
    """
    state = checkpoint.read(path)
    network, _ = LAYOUT.split(state)
    return _layout.fill(build(has_norm=_NORM in network), state, LAYOUT, path)
