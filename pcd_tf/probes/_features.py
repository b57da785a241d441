"""A frozen network as a function of images, and its pooled vectors of a set of images."""

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tqdm import tqdm

from pcd_tf import data, errors, outside
from pcd_tf.errors import UserError

Network = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]
Classifier = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]  # (n, C) -> (n, classes)

_VALUES_AT_ONCE = 2**22  # 32 MiB of float64
_SECONDS_BETWEEN_LINES = 30.0  # where the bar goes to a file


@dataclasses.dataclass(frozen=True)
class Features:
    """Vectors of n images with their classes.

    Args:
        vectors: float32 (n, C).
        labels: int64 (n,), indices into class_names.
        class_names: of the labels.
    """

    vectors: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    class_names: tuple[str, ...]

    def part(self, chosen: npt.NDArray[np.bool_]) -> "Features":
        """Returns those images of which `chosen`, bool (n,), is true."""
        return Features(self.vectors[chosen], self.labels[chosen], self.class_names)


def network(backbone: keras.Model, mean: Sequence[float], std: Sequence[float]) -> Network:
    """Makes a function of images in inference mode; it follows the backbone when that is trained.

    Args:
        backbone: normalised images (B, H, W, 3) -> map (B, h, w, C).
        mean: per channel, of RGB images in 0..255.
        std: likewise.

    Returns:
        uint8 (B, S, S, 3) -> float32 (B, h, w, C).
    """
    means, deviations = np.array(mean, "float32"), np.array(std, "float32")

    @tf.function(reduce_retracing=True)
    def compute(images: tf.Tensor) -> tf.Tensor:
        normalised = (tf.cast(images, tf.float32) - means) / deviations
        return tf.cast(backbone(normalised, training=False), tf.float32)

    def function(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        with errors.translated():
            return np.asarray(compute(tf.constant(images)))

    return function


@errors.translated()
def pooled(network: Network, source: data.Source, *, image_size: int, batch_size: int) -> Features:
    """Computes the mean over the last map's pixels of every readable image that has a class.

    Images are cropped as the published protocols of k-NN and linear probes do: see
    `pcd_tf.data.centre_crop`.

    Raises:
        UserError: when no image is left.
    """
    batches = data.images_in_order(
        source, image_size=image_size, batch_size=batch_size, crop=data.centre_crop
    )
    vectors, labels = [], []
    for batch in progress(batches.as_numpy_iterator(), source.num_examples, batch_size):
        kept = batch["readable"] & (batch["label"] >= 0)
        vectors.append(network(batch["images"]).mean(axis=(1, 2))[kept])  # [b, C]
        labels.append(batch["label"][kept])
    features = Features(np.concatenate(vectors), np.concatenate(labels), source.class_names)
    if not len(features.labels):
        raise UserError(
            f"Expected readable images with a class in {source.name}. Received: none of "
            f"{source.num_examples}. Put them in one folder a class."
        )
    return features


def pooled_pair(
    network: Network,
    train: data.Source,
    held_out: data.Source,
    *,
    image_size: int,
    batch_size: int,
) -> tuple[Features, Features]:
    """Computes `pooled` of two sources with the same classes."""
    check_classes(train, held_out)
    ours, theirs = (
        pooled(network, source, image_size=image_size, batch_size=batch_size)
        for source in (train, held_out)
    )
    return ours, theirs


def unit(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Brings vectors (..., C) to length 1; zero vectors stay zero."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.maximum(lengths, 1e-12)


def mean_and_deviation(
    vectors: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """What vectors (..., C) are standardised by: two of (C,); 1 for a channel that is constant.

    Part by part, as the vectors may be all that memory holds.
    """
    axes = tuple(range(vectors.ndim - 1))
    mean = vectors.mean(axis=axes, dtype="float64")  # [C]
    size = max(1, _VALUES_AT_ONCE // max(1, vectors[:1].size))
    parts = (vectors[start : start + size] for start in range(0, len(vectors), size))
    squares = sum(np.square(part - mean).sum(axis=axes) for part in parts)  # [C]
    deviation = np.sqrt(squares / (vectors.size // len(mean)))
    varies = deviation > 1e-6 * max(float(deviation.max()), 1e-12)
    return mean.astype("float32"), np.where(varies, deviation, 1.0).astype("float32")


@contextlib.contextmanager
def exact_products() -> Iterator[None]:
    """Multiplies float32 as float32: TensorFloat-32's 10 bits would take neighbours for another."""
    was_on = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(was_on)


def check_classes(train: data.Source, held_out: data.Source) -> None:
    """Refuses two sources that have not the same classes, two at least, before anything long."""
    for source in (train, held_out):
        if len(source.class_names) < 2:
            raise UserError(
                f"Expected images of two classes or more in {source.name}, one folder a class. "
                f"Received: {len(source.class_names) or 'no'} class folders"
                f"{'; ' * bool(source.why_no_classes)}{source.why_no_classes}."
            )
    outside.check_same_classes(train, held_out)


def progress(batches: Iterable[Any], num_images: int, batch_size: int) -> Any:
    """Shows how far a pass over images is, in batches."""
    interval = 1.0 if sys.stderr.isatty() else _SECONDS_BETWEEN_LINES
    total = -(-num_images // batch_size)
    return tqdm(batches, total=total, unit="batch", mininterval=interval, delay=interval)
