"""DINO ResNet-50: head 2048-4096-256, weights from the authors' full checkpoint.

Source: Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", 2021,
arXiv 2104.14294. The file has to be the full checkpoint: the one of the backbone alone has no head.
The published file's head has two layers and BatchNorm, which the public code's default has not
(facebookresearch/dino, issues 189 and 251); that of their example run has three layers without.
"""

import os
from collections.abc import Sequence

from pcd_tf.backbones.resnet import resnet
from pcd_tf.normalisation import IMAGENET_MEAN, IMAGENET_STD
from pcd_tf.teachers import _head, _layout
from pcd_tf.teachers._teacher import Teacher
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


def build(units: Sequence[int] = (4096, 256), *, norm: bool = True) -> Teacher:
    """Builds the teacher, randomly initialised: (B, H, W, 3) -> (B, h, w, D).

    The head has biases and GELU, and stops before DINO's L2 norm and prototypes.

    Args:
        units: width of each layer of the head, the last is D; by default the published file's.
        norm: whether a BatchNorm stands behind each hidden layer of the head, as there.
    """
    return Teacher(
        name="dino_resnet50",
        backbone=resnet(50),
        head=_head.mlp(2048, units, biases=[True] * len(units), norm=norm, activation="gelu"),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )


def from_checkpoint(path: str | os.PathLike[str]) -> Teacher:
    """Builds the teacher with the teacher of a full checkpoint, its head as the file has it.

    Args:
        path: the `.pth` of the pre-training, or the same as `.safetensors` or `.npz`.

    Raises:
        UserError: when the file cannot be read, or its arrays are not this teacher's.
    """
    state = checkpoint.read(path)
    network, _ = LAYOUT.split(state)
    kernels = sorted(name for name in network if name.startswith(LAYOUT.head))
    units = [network[name].shape[0] for name in kernels if network[name].ndim == 2]
    teacher = build(units, norm=_NORM in network) if units else build()
    return _layout.fill(teacher, state, LAYOUT, path)
