"""Barlow Twins ResNet-50: head 2048-8192-8192-8192, weights from the authors' full checkpoint.

Source: Zbontar et al., "Barlow Twins: Self-Supervised Learning via Redundancy Reduction", 2021,
arXiv 2103.03230. The file has to be the full checkpoint: the one of the backbone alone has no head.
"""

import os

from pcd_tf.backbones.resnet import resnet
from pcd_tf.normalisation import IMAGENET_MEAN, IMAGENET_STD
from pcd_tf.teachers import _head, _layout
from pcd_tf.teachers._teacher import Teacher
from pcd_tf.weights import checkpoint

# The BatchNorm without scale and shift behind the head (`bn`) belongs to the loss.
LAYOUT = _layout.Layout(
    container="model",
    backbone="backbone.",
    head="projector.",
    unused=("bn.",),
    whole="the authors' full checkpoint (checkpoint.pth), not that of the backbone (resnet50.pth)",
)


def build() -> Teacher:
    """Builds the teacher, randomly initialised: (B, H, W, 3) -> (B, h, w, 8192).

    The head has three layers without biases, 151 million parameters.
    """
    return Teacher(
        name="barlow_twins_resnet50",
        backbone=resnet(50),
        head=_head.mlp(2048, (8192, 8192, 8192)),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )


def from_checkpoint(path: str | os.PathLike[str]) -> Teacher:
    """Builds the teacher with the network of a full checkpoint of the authors' code.

    Args:
        path: the `.pth` of the pre-training, or the same as `.safetensors` or `.npz`.

    Raises:
        UserError: when the file cannot be read, or its arrays are not this teacher's.
    """
    state = checkpoint.read(path)
    return _layout.fill(build(), state, LAYOUT, path)
