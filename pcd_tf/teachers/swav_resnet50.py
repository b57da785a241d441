"""SwAV ResNet-50: head 2048-2048-128, weights from the authors' checkpoint.

Source: Caron et al., "Unsupervised Learning of Visual Features by Contrasting Cluster Assignments",
2020, arXiv 2006.09882.
"""

import os

from pcd_tf.backbones.resnet import resnet
from pcd_tf.normalisation import IMAGENET_MEAN, IMAGENET_STD
from pcd_tf.teachers import _head, _layout
from pcd_tf.teachers._teacher import Teacher
from pcd_tf.weights import checkpoint

# The training and the linear probe of the authors' code normalise with 0.228 for red, not 0.229.
STD = (0.228 * 255, *IMAGENET_STD[1:])

LAYOUT = _layout.Layout(
    container="state_dict",  # of a checkpoint on the way; the published files are that dict itself
    head="projection_head.",
    unused=("prototypes.",),
    whole="the one of the authors' code with projection_head in it, such as swav_800ep_pretrain",
)


def build() -> Teacher:
    """Builds the teacher, randomly initialised: (B, H, W, 3) -> (B, h, w, 128).

    The head has biases, and stops before SwAV's L2 norm and prototypes.
    """
    return Teacher(
        name="swav_resnet50",
        backbone=resnet(50),
        head=_head.mlp(2048, (2048, 128), biases=(True, True)),
        mean=IMAGENET_MEAN,
        std=STD,
    )


def from_checkpoint(path: str | os.PathLike[str]) -> Teacher:
    """Builds the teacher with the network of a checkpoint of the authors' code.

    Args:
        path: the `.pth.tar` of the pre-training, or the same as `.safetensors` or `.npz`.

    Raises:
        UserError: when the file cannot be read, or its arrays are not this teacher's.
    """
    state = checkpoint.read(path)
    return _layout.fill(build(), state, LAYOUT, path)
