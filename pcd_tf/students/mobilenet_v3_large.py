"""MobileNetV3-Large: 3.0 M parameters, 960 channels: for phones.

Source: Howard et al., "Searching for MobileNetV3", ICCV 2019, arXiv 1905.02244, table 1.
"""

import keras_hub

from pcd_tf.students._mobilenet_v3 import Row, mobilenet_v3

_ROWS = (
    Row(3, 16, 16, False, "relu", 1),
    Row(3, 64, 24, False, "relu", 2),
    Row(3, 72, 24, False, "relu", 1),
    Row(5, 72, 40, True, "relu", 2),
    Row(5, 120, 40, True, "relu", 1),
    Row(5, 120, 40, True, "relu", 1),
    Row(3, 240, 80, False, "hard_swish", 2),
    Row(3, 200, 80, False, "hard_swish", 1),
    Row(3, 184, 80, False, "hard_swish", 1),
    Row(3, 184, 80, False, "hard_swish", 1),
    Row(3, 480, 112, True, "hard_swish", 1),
    Row(3, 672, 112, True, "hard_swish", 1),
    Row(5, 672, 160, True, "hard_swish", 2),
    Row(5, 960, 160, True, "hard_swish", 1),
    Row(5, 960, 160, True, "hard_swish", 1),
)


def build() -> keras_hub.models.MobileNetBackbone:
    """Builds a randomly initialised MobileNetV3-Large; the pyramid has P2..P5."""
    return mobilenet_v3(_ROWS, name="mobilenet_v3_large")
