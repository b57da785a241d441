"""MoCo v3 ViT-S/16: head 384-4096-4096-256, weights from the authors' checkpoint.

Source: Chen, Xie, He, "An Empirical Study of Training Self-Supervised Vision Transformers", 2021,
arXiv 2104.02057.

The head was trained on the class token. Here it is applied at each patch token, and its gates are
decided by the mean over the patch tokens: the invariance of SpatialAdaptor is exact for that mean,
which stands in for the class token and is not equal to it.
"""

import os

from pcd_tf.teachers import _moco_v3_vit
from pcd_tf.teachers._teacher import Teacher

LAYOUT = _moco_v3_vit.LAYOUT


def build() -> Teacher:
    """Builds the teacher, randomly initialised: (B, H, W, 3) -> (B, H / 16, W / 16, 256).

    The head has no biases and ends in a BatchNorm without scale and shift. Positions are fixed.
    """
    return _moco_v3_vit.build("moco_v3_vit_s16", hidden_dim=384)


def from_checkpoint(path: str | os.PathLike[str]) -> Teacher:
    """Builds the teacher with the momentum encoder of a checkpoint of the authors' code.

    Args:
        path: the `.pth.tar` of the pre-training, or the same as `.safetensors` or `.npz`.

    Raises:
        UserError: when the file cannot be read, or its arrays are not this teacher's.
    """
    return _moco_v3_vit.fill(build(), path)
