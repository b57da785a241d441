"""A small backbone and batches of squares, for tests of detectors."""

from typing import Any

import keras
import numpy as np
from keras import layers

SIZE = 64  # pixels a side
MEAN, STD = (100.0, 110.0, 120.0), (50.0, 60.0, 70.0)
OPTIONS: dict[str, Any] = {"class_names": ("dark", "light"), "mean": MEAN, "std": STD}


def backbone(channels=8, *, depth=5):
    """Strided convolutions with BatchNorm: (B, S, S, 3) -> stride 2**depth."""
    images = x = keras.Input((None, None, 3))
    for _ in range(depth):
        x = layers.Conv2D(channels, 3, strides=2, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    return keras.Model(images, x, name="small")


def batch(numbers=(1, 2, 0, 1), *, seed=0):
    """Images of noise with so many squares, dark or light, 24 to 40 pixels a side."""
    random = np.random.default_rng(seed)
    images = random.integers(96, 160, (len(numbers), SIZE, SIZE, 3)).astype(np.uint8)
    boxes = np.zeros((len(numbers), 3, 4), np.float32)
    labels = np.full((len(numbers), 3), -1, np.int32)
    for i, number in enumerate(numbers):
        for j in range(number):
            side = int(random.integers(24, 41))
            x, y = random.integers(0, SIZE - side + 1, 2)
            labels[i, j] = random.integers(2)
            images[i, y : y + side, x : x + side] = (20, 235)[labels[i, j]]
            boxes[i, j] = x, y, x + side, y + side
    return {"images": images, "boxes": boxes, "labels": labels}
