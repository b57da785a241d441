"""MoCo v3's ResNets: what those of every depth have in common."""

import keras

from pcd_tf.backbones.resnet import resnet
from pcd_tf.normalisation import IMAGENET_MEAN, IMAGENET_STD
from pcd_tf.teachers import _head, _layout
from pcd_tf.teachers._teacher import Teacher

# The momentum encoder is the teacher; the base encoder is the one that was trained.
LAYOUT = _layout.Layout(
    container="state_dict",
    backbone="momentum_encoder.",
    head="momentum_encoder.fc.",
    unused=("base_encoder.", "predictor."),
    whole="the checkpoint of MoCo v3's pre-training, not that of its linear probe",
)


def build(name: str, depth: int, *, hidden_units: int, embedding_dim: int = 256) -> Teacher:
    """Builds a teacher, randomly initialised.

    The head has no biases and ends in a BatchNorm without scale and shift.

    Args:
        name: of the teacher.
        depth: of the ResNet.
        hidden_units: width of the head's hidden layer.
        embedding_dim: D; MoCo v3's by default.
    """
    backbone: keras.Model = resnet(depth)
    channels = backbone.output_shape[-1]
    return Teacher(
        name=name,
        backbone=backbone,
        head=_head.mlp(channels, (hidden_units, embedding_dim), last_norm=True),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )
