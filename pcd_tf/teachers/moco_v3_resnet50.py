"""MoCo v3 ResNet-50: head 2048-4096-256, weights from the job pretrain or the authors' checkpoint.

Source: Chen, Xie, He, "An Empirical Study of Training Self-Supervised Vision Transformers", 2021,
arXiv 2104.02057. Its linear probe on ImageNet: 68.9 / 72.8 / 74.6 % at 100 / 300 / 1000 epochs.
"""

import os

from pcd_tf.teachers import _layout, _moco_v3_resnet
from pcd_tf.teachers._teacher import Teacher
from pcd_tf.weights import checkpoint

LAYOUT = _moco_v3_resnet.LAYOUT


def build() -> Teacher:
    """Builds the teacher, randomly initialised: (B, H, W, 3) -> (B, h, w, 256)."""
    return _moco_v3_resnet.build("moco_v3_resnet50", depth=50, hidden_units=4096)


def from_checkpoint(path: str | os.PathLike[str]) -> Teacher:
    """Builds the teacher with the momentum encoder of a checkpoint of the authors' code.

    Args:
        path: the `.pth.tar` of the pre-training, or the same as `.safetensors` or `.npz`.

    Raises:
        UserError: when the file cannot be read, or its arrays are not this teacher's.
    """
    state = checkpoint.read(path)
    return _layout.fill(build(), state, LAYOUT, path)
