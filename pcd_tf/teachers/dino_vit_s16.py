"""DINO ViT-S/16: head 384-2048-2048-256, weights from the authors' full checkpoint.

Source: Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", 2021,
arXiv 2104.14294. The file has to be the full checkpoint: the one of the backbone alone has no head.

The head was trained on the class token. Here it is applied at each patch token, and its gates are
decided by the mean over the patch tokens: the invariance of SpatialAdaptor is exact for that mean,
which stands in for the class token and is not equal to it.
"""

import os

from pcd_tf.teachers import _dino_vit, _layout
from pcd_tf.teachers._teacher import Teacher
from pcd_tf.weights import checkpoint

LAYOUT = _dino_vit.LAYOUT


def build(*, has_norm: bool = False) -> Teacher:
    """Builds the teacher, randomly initialised: (B, H, W, 3) -> (B, H / 16, W / 16, 256).

    The head has biases and GELU, and stops before DINO's L2 norm and prototypes.

    Args:
        has_norm: whether the head has BatchNorms; the published one has none.
    """
    return _dino_vit.build("dino_vit_s16", hidden_dim=384, num_heads=6, has_norm=has_norm)


def from_checkpoint(path: str | os.PathLike[str]) -> Teacher:
    """Builds the teacher with the teacher of a full checkpoint of the authors' code.

    Args:
        path: the `.pth` of the pre-training, or the same as `.safetensors` or `.npz`.

    Raises:
        UserError: when the file cannot be read, or its arrays are not this teacher's.
    """
    state = checkpoint.read(path)
    return _layout.fill(build(has_norm=_dino_vit.has_norm(state)), state, LAYOUT, path)
