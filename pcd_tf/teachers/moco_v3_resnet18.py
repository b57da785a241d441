"""MoCo v3 ResNet-18: head 512-1024-256, weights from the job pretrain; for small machines.

Source: the method of Chen, Xie, He, 2021, arXiv 2104.02057, which has no ResNet-18. The head's
hidden width is ours: twice the backbone's channels, as their ResNet-50 has it. A checkpoint of
their code is read when it has this width.
"""

import os

from pcd_tf.teachers import _layout, _moco_v3_resnet
from pcd_tf.teachers._teacher import Teacher
from pcd_tf.weights import checkpoint

LAYOUT = _moco_v3_resnet.LAYOUT


def build() -> Teacher:
    """Builds the teacher, randomly initialised: (B, H, W, 3) -> (B, h, w, 256)."""
    return _moco_v3_resnet.build("moco_v3_resnet18", depth=18, hidden_units=1024)


def from_checkpoint(path: str | os.PathLike[str]) -> Teacher:
    """Builds the teacher with the momentum encoder of a checkpoint of the authors' code.

    Args:
        path: the `.pth.tar` of the pre-training, or the same as `.safetensors` or `.npz`.

    Raises:
        UserError: when the file cannot be read, or its arrays are not this teacher's.
    """
    state = checkpoint.read(path)
    return _layout.fill(build(), state, LAYOUT, path)
