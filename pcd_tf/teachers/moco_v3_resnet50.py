"""MoCo v3 ResNet-50: head 2048-4096-256, weights from the job pretrain.

Source: Chen, Xie, He, "An Empirical Study of Training Self-Supervised Vision Transformers", 2021,
arXiv 2104.02057. Its linear probe on ImageNet: 68.9 / 72.8 / 74.6 % at 100 / 300 / 1000 epochs.
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
        hidden_units=4096, output_units=256, num_layers=2, last_norm=True, synchronized=True
    )
    return Teacher(
        name="moco_v3_resnet50",
        backbone=resnet(50),
        head=keras.Sequential([keras.Input((2048,)), *projection.layers], name="head"),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )
