"""BYOL ResNet-50: head 2048-4096-256, weights from a re-implementation in PyTorch.

Source: Grill et al., "Bootstrap Your Own Latent: A New Approach to Self-Supervised Learning", 2020,
arXiv 2006.07733. The authors' own weights are of another framework. Read here are the checkpoints
with the projector as `fc` of a torchvision ResNet, in an online and a target encoder.
"""

import os

from pcd_tf.backbones.resnet import resnet
from pcd_tf.normalisation import IMAGENET_MEAN, IMAGENET_STD
from pcd_tf.teachers import _head, _layout
from pcd_tf.teachers._teacher import Teacher
from pcd_tf.weights import checkpoint

# The target encoder is the teacher, as it is the mean of the online encoder over the training.
LAYOUT = _layout.Layout(
    container="model",
    backbone="target_encoder.",
    head="target_encoder.fc.",
    unused=("online_encoder.", "predictor."),
    whole="the checkpoint of the pre-training, with target_encoder in it",
)


def build() -> Teacher:
    """Builds the teacher, randomly initialised: (B, H, W, 3) -> (B, h, w, 256).

    The first layer of the head has a bias, the last has none.
    """
    return Teacher(
        name="byol_resnet50",
        backbone=resnet(50),
        head=_head.mlp(2048, (4096, 256), biases=(True, False)),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )


def from_checkpoint(path: str | os.PathLike[str]) -> Teacher:
    """Builds the teacher with the target encoder of a checkpoint.

    Args:
        path: the `.pth` or `.pth.tar` of the pre-training, or the same as `.safetensors` or `.npz`.

    Raises:
        UserError: when the file cannot be read, or its arrays are not this teacher's.
    """
    state = checkpoint.read(path)
    return _layout.fill(build(), state, LAYOUT, path)
