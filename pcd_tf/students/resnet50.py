"""ResNet-50: 23.5 M parameters, 2048 channels."""

import keras_hub

from pcd_tf.backbones.resnet import resnet


def build() -> keras_hub.models.ResNetBackbone:
    """Builds a randomly initialised ResNet-50, pyramid P2..P5."""
    return resnet(50)
