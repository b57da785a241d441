"""MoCo v3 ResNet-18: head 512-1024-256, weights from the job pretrain; for small machines.

Source: the method of Chen, Xie, He, 2021, arXiv 2104.02057, which has no ResNet-18. The head's
hidden width is ours: twice the backbone's channels, as their ResNet-50 has it.
"""

import keras

from pcd_tf.backbones.resnet import resnet
from pcd_tf.layers import ProjectionHead
from pcd_tf.teachers._teacher import IMAGENET_MEAN, IMAGENET_STD, Teacher


def build() -> Teacher:
    """Builds the teacher, randomly initialised: (B, H, W, 3) -> (B, h, w, 256).

    The head has no biases and ends in a BatchNorm without scale and shift.
    """
    projection = ProjectionHead(
        hidden_units=1024, output_units=256, num_layers=2, last_norm=True, synchronized=True
    )
    return Teacher(
        name="moco_v3_resnet18",
        backbone=resnet(18),
        head=keras.Sequential([keras.Input((512,)), *projection.layers], name="head"),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )
