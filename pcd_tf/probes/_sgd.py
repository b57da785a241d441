"""Linear classifiers by mini-batch SGD on the accelerator, one for each learning rate."""

from collections.abc import Iterator, Sequence

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from pcd_tf import errors
from pcd_tf.optimizers import SGD
from pcd_tf.probes import _features
from pcd_tf.probes._features import Classifier, Features

# The sweep of DINOv2, `dinov2/eval/linear.py`: 13 rates per 256 images, side by side; 12500 steps
# of 1024 images, ten epochs of ImageNet; momentum 0.9, no decay, a cosine to 0 as in DINO's
# `eval_linear.py`.
RATES = (1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 1e-1)
NUM_STEPS = 12500
BATCH = 1024
MOMENTUM = 0.9
_IMAGES_OF_RATE = 256
_SEED = 0  # of the order of the images


@errors.translated()
def fit(train: Features, rates: Sequence[float]) -> list[Classifier]:
    """Trains a linear classifier by each rate, all on the same batches.

    They start at zero and see features standardised by the training images.

    Args:
        train: vectors and their classes.
        rates: learning rates for 256 images.

    Returns:
        a function for each rate: float32 (n, C) -> logits (n, classes).
    """
    num_rates, num_classes = len(rates), len(train.class_names)
    batch = min(BATCH, len(train.labels))
    mean, deviation = _features.mean_and_deviation(train.vectors)
    dense = keras.layers.Dense(num_rates * num_classes, kernel_initializer="zeros", dtype="float32")
    dense.build(train.vectors.shape)
    optimizer = SGD(keras.optimizers.schedules.CosineDecay(1.0, NUM_STEPS), MOMENTUM)
    optimizer.build(dense.trainable_variables)
    scaled = tf.constant(rates, tf.float32) * (batch / _IMAGES_OF_RATE)

    @tf.function
    def step(vectors: tf.Tensor, labels: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            logits = dense((vectors - mean) / deviation)  # [b, rates * classes]
            logits = tf.reshape(logits, (batch, num_rates, num_classes))
            values = tf.nn.sparse_softmax_cross_entropy_with_logits(
                tf.repeat(labels[:, None], num_rates, axis=1), logits
            )  # [b, rates]
            # No classifier sees another's loss: a loss times a rate is a step at that rate.
            loss = tf.reduce_sum(scaled * tf.reduce_mean(values, axis=0))
        gradients = tape.gradient(loss, dense.trainable_variables)
        optimizer.apply_gradients(zip(gradients, dense.trainable_variables, strict=True))

    chosen = _batches(len(train.labels), batch)
    for _ in _features.progress(range(NUM_STEPS), NUM_STEPS, 1):
        places = next(chosen)
        step(tf.constant(train.vectors[places]), tf.constant(train.labels[places]))
    kernel, bias = (keras.ops.convert_to_numpy(x) for x in (dense.kernel, dense.bias))

    def classifier(part: slice) -> Classifier:
        return lambda vectors: (vectors - mean) / deviation @ kernel[:, part] + bias[part]

    starts = range(0, num_rates * num_classes, num_classes)
    return [classifier(slice(start, start + num_classes)) for start in starts]


def _batches(num_images: int, size: int) -> Iterator[npt.NDArray[np.int64]]:
    """Yields places without end, each once an epoch; those that fill no batch are left out."""
    random = np.random.default_rng(_SEED)
    while True:
        order = random.permutation(num_images)
        for start in range(0, num_images - size + 1, size):
            yield order[start : start + size]
