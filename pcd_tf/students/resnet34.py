"""ResNet-34: 21.3 M parameters, 512 channels."""

import keras_hub

from pcd_tf.backbones.resnet import resnet


def build() -> keras_hub.models.ResNetBackbone:
    """Builds a randomly initialised ResNet-34, pyramid P2..P5."""
    return resnet(34)
