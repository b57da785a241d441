"""Small networks and batches of views, for tests of models and of training."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from pcd_tf.teachers import Teacher

SIZE = 32  # pixels a side of a view
STRIDE = 8
DIM = 8
QUEUE_SIZE = 40
MEAN, STD = (100.0, 110.0, 120.0), (50.0, 60.0, 70.0)


def backbone(channels: int = 8, *, stride: int = STRIDE) -> Any:
    """Two convolutions with BatchNorm: (B, S, S, 3) -> (B, S / 8, S / 8, C)."""
    images = keras.Input((None, None, 3))
    x = layers.Conv2D(channels, 5, strides=stride // 2, padding="same", use_bias=False)(images)
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x))
    x = layers.Conv2D(channels, 3, strides=2, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)
    return keras.Model(images, layers.ReLU()(x), name="toy")


def teacher(seed: int = 0) -> Any:
    """A teacher whose every weight and statistic is random: 8 channels, head 8-16-8."""
    head = keras.Sequential(
        [
            keras.Input((8,)),
            layers.Dense(16, use_bias=False),
            layers.BatchNormalization(epsilon=1e-5),
            layers.ReLU(),
            layers.Dense(DIM),
        ],
        name="head",
    )
    made = Teacher("toy", backbone(8), head, MEAN, STD)
    scramble(made.weights, seed)
    return made


def encoder() -> Any:
    """Backbone, mean over the pixels and head for MoCo v3: (B, S, S, 3) -> (B, 8)."""
    head = [
        layers.GlobalAveragePooling2D(),
        layers.Dense(16, use_bias=False),
        layers.BatchNormalization(epsilon=1e-5, momentum=0.9),
        layers.ReLU(),
        layers.Dense(DIM, use_bias=False),
        layers.BatchNormalization(epsilon=1e-5, momentum=0.9, center=False, scale=False),
    ]
    return keras.Sequential([keras.Input((None, None, 3)), backbone(8), *head])


def scramble(weights: Any, seed: int) -> None:
    """Sets weights at random, so that no kernel and no statistic is a neutral one."""
    random = np.random.default_rng(seed)
    for weight in weights:
        if weight.name in ("gamma", "moving_variance"):
            weight.assign(random.uniform(0.5, 1.5, weight.shape))
        else:
            weight.assign(random.normal(0.0, 0.3, weight.shape))


def batch(size: int, seed: int = 0) -> dict[str, np.ndarray]:
    """One batch as `pcd_tf.data.two_views` makes it; crops that mostly overlap."""
    random = np.random.default_rng(seed)
    blocks = random.integers(0, 256, (size, 2, 8, 8, 3), np.uint8)
    start = random.uniform(0.0, 0.4, (size, 2, 2))
    neutral = np.array([1, 1, 1, 0, 0, 0, 0, 0], np.float32)
    photometric = np.broadcast_to(neutral, (size, 2, 8)).copy()
    photometric[..., 0] = random.uniform(0.6, 1.4, (size, 2))  # brightness
    photometric[..., 6] = random.uniform(0.1, 2.0, (size, 2))  # blur
    boxes = np.concatenate([start, start + random.uniform(0.4, 0.6, start.shape)], axis=-1)
    return {
        "images": blocks.repeat(SIZE // 8, axis=2).repeat(SIZE // 8, axis=3),
        "boxes": boxes.astype(np.float32),
        "flips": random.random((size, 2)) < 0.5,
        "photometric": photometric,
        "index": np.arange(size),
    }


def batches(size: int) -> Any:
    """An endless dataset of different batches."""

    def generate() -> Iterator[dict[str, np.ndarray]]:
        seed = 0
        while True:
            yield batch(size, seed)
            seed += 1

    example = batch(size)
    signature = {name: tf.TensorSpec(x.shape, x.dtype) for name, x in example.items()}
    return tf.data.Dataset.from_generator(generate, output_signature=signature)
