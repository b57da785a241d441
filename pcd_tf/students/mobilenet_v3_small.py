"""MobileNetV3-Small: 0.93 M parameters, 576 channels: for small phones.

Source: Howard et al., "Searching for MobileNetV3", ICCV 2019, arXiv 1905.02244, table 2.
"""

import keras_hub

from pcd_tf.students._mobilenet_v3 import Row, mobilenet_v3

_ROWS = (
    Row(3, 16, 16, True, "relu", 2),
    Row(3, 72, 24, False, "relu", 2),
    Row(3, 88, 24, False, "relu", 1),
    Row(5, 96, 40, True, "hard_swish", 2),
    Row(5, 240, 40, True, "hard_swish", 1),
    Row(5, 240, 40, True, "hard_swish", 1),
    Row(5, 120, 48, True, "hard_swish", 1),
    Row(5, 144, 48, True, "hard_swish", 1),
    Row(5, 288, 96, True, "hard_swish", 2),
    Row(5, 576, 96, True, "hard_swish", 1),
    Row(5, 576, 96, True, "hard_swish", 1),
)


def build() -> keras_hub.models.MobileNetBackbone:
    """Builds a randomly initialised MobileNetV3-Small; the pyramid has P2..P5."""
    return mobilenet_v3(_ROWS, name="mobilenet_v3_small")
