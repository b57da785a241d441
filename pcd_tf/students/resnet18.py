"""ResNet-18: 11.2 M parameters, 512 channels: the student of the paper's main results."""

import keras_hub

from pcd_tf.backbones.resnet import resnet


def build() -> keras_hub.models.ResNetBackbone:
    """Builds a randomly initialised ResNet-18, pyramid P2..P5."""
    return resnet(18)
