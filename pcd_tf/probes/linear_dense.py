"""`--probe=linear_dense`: a linear classifier at every pixel of the map, scored by mIoU."""

from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from pcd_tf import data, errors
from pcd_tf.errors import UserError
from pcd_tf.evaluation import segmentation
from pcd_tf.probes import _features
from pcd_tf.probes._features import Network

IMAGES = "maps"
MAIN = "linear_dense_miou"

# [ours] The classifier starts at zero and is trained by Adam, its rate falling to 0 by a cosine, on
# labels read at POINTS x POINTS places of each pixel of the map. No penalty: nothing to tune.
NUM_STEPS = 1000
BATCH = 16  # images
RATE = 1e-3
POINTS = 4
_SEED = 0  # of the order of the images


@errors.translated()
def evaluate(
    network: Network,
    train: data.Segmented,
    held_out: data.Segmented,
    *,
    image_size: int,
    batch_size: int,
) -> dict[str, float]:
    """Trains a 1 x 1 classifier on frozen maps; its logits are enlarged bilinearly to the images.

    The two sources have the same classes.

    As in Oquab et al., "DINOv2", 2023, arXiv 2304.07193, section 7.4, "linear". The training maps
    are kept in memory: images x h x w x C x 4 bytes.

    Returns:
        linear_dense_miou and linear_dense_pixel_accuracy on the held-out images, at image_size.

    Raises:
        UserError: when no training pixel has a class.
    """
    size = {"image_size": image_size, "batch_size": batch_size}
    maps, labels = np.zeros((0,), np.float32), []
    for batch in _batches(train, size):
        found = network(batch["images"])  # [b, h, w, C]
        if not len(maps):
            maps = np.zeros((train.num_examples, *found.shape[1:]), np.float32)
        maps[batch["index"]] = found
        labels.append(_sampled(batch["maps"], found.shape[1:3]))  # [b, P h, P w]
    classify = fit(maps, np.concatenate(labels), len(train.class_names))
    matrix = segmentation.ConfusionMatrix(train.class_names)
    for batch in _batches(held_out, size):
        logits = tf.image.resize(classify(network(batch["images"])), (image_size, image_size))
        matrix.add(batch["maps"], np.argmax(logits, axis=-1))  # [b, S, S] both
    scores = matrix.scores()
    return {
        "linear_dense_miou": scores["mIoU"],
        "linear_dense_pixel_accuracy": scores["pixel_accuracy"],
    }


def fit(maps: npt.NDArray[np.float32], labels: npt.NDArray[np.uint8], num_classes: int) -> Any:
    """Trains the classifier by cross-entropy over all labelled places of a batch.

    Args:
        maps: float (n, h, w, C).
        labels: uint8 (n, P h, P w), IGNORED where there is none.
        num_classes: K.

    Returns:
        a function: maps (b, h, w, C) -> logits (b, h, w, K).
    """
    if not (labels != data.IGNORED).any():
        raise UserError("Expected training pixels with a class. Received: none; all are ignored.")
    mean, deviation = _features.mean_and_deviation(maps)  # [C] both
    dense = keras.layers.Dense(num_classes, kernel_initializer="zeros", dtype="float32")
    dense.build(maps.shape)
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(RATE, NUM_STEPS))
    optimizer.build(dense.trainable_variables)

    def classify(inputs: Any) -> Any:
        return dense((inputs - mean) / deviation)  # [b, h, w, K]

    @tf.function(reduce_retracing=True)
    def step(inputs: tf.Tensor, classes: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            logits = tf.image.resize(classify(inputs), classes.shape[1:])  # [b, P h, P w, K]
            counted = tf.cast(classes != data.IGNORED, tf.float32)
            known = tf.where(classes == data.IGNORED, tf.zeros_like(classes), classes)
            values = tf.nn.sparse_softmax_cross_entropy_with_logits(
                tf.cast(known, tf.int32), logits
            )
            loss = tf.reduce_sum(counted * values) / tf.maximum(tf.reduce_sum(counted), 1.0)
        gradients = tape.gradient(loss, dense.trainable_variables)
        optimizer.apply_gradients(zip(gradients, dense.trainable_variables, strict=True))

    random = np.random.default_rng(_SEED)
    for _ in range(NUM_STEPS):
        chosen = random.choice(len(maps), min(BATCH, len(maps)), replace=False)
        step(tf.constant(maps[chosen]), tf.constant(labels[chosen]))
    return classify


def _batches(source: data.Segmented, size: dict[str, int]) -> Any:
    batches = data.segmented_in_order(source, **size)
    return _features.progress(batches.as_numpy_iterator(), source.num_examples, size["batch_size"])


def _sampled(labels: npt.NDArray[np.uint8], size: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Reads the class at POINTS places of each map pixel and axis: (b, S, S) -> (b, P h, P w)."""
    rows, columns = (
        np.floor((np.arange(POINTS * n) + 0.5) * side / (POINTS * n)).astype(int)
        for n, side in zip(size, labels.shape[1:], strict=True)
    )
    return labels[:, rows[:, None], columns[None]]
