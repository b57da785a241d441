"""Batches of images with class maps: augmented without end, or each once and in order."""

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from PIL import Image

from pcd_tf.data import epochs, python_function, shuffled_indices
from pcd_tf.segmented._source import IGNORED, Source

# Random scale and flip of Chen et al., "Encoder-Decoder with Atrous Separable Convolution", 2018,
# arXiv 1802.02611, section 4.1, as of their code.
SCALES = (0.5, 2.0)
FLIP = 0.5  # probability
NUM_PREFETCHED = 2  # batches

_Pair = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]


def batches(
    source: Source, *, image_size: int, global_batch_size: int, seed: int, start_step: int = 0
) -> tf.data.Dataset:
    """Makes the endless stream of augmented batches from a step on.

    Each image once an epoch, in a new order; scaled, cropped or padded to a square, and flipped at
    random. What a step holds depends on the seed and the step alone.

    Args:
        source: the images.
        image_size: S, pixels a side of what is made.
        global_batch_size: B, images a batch.
        seed: of all that is random.
        start_step: the step of the first batch.

    Returns:
        a dataset of dicts: "images" uint8 (B, S, S, 3), 0 where padded; "maps" uint8 (B, S, S),
        IGNORED where padded.
    """

    def records(epoch: tf.Tensor) -> tf.data.Dataset:
        numbered = shuffled_indices(source.num_examples, seed, epoch).enumerate()
        return numbered.map(lambda position, record: {**record, "position": position})

    def make(epoch: np.ndarray, position: np.ndarray, index: np.ndarray) -> _Pair:
        rng = np.random.default_rng([seed, int(epoch), int(position)])
        return _augmented(rng, *source.pair(int(index)), image_size)

    def example(record: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        place = [record[key] for key in ("epoch", "position", "index")]
        return _typed(python_function(make, place, [tf.uint8, tf.uint8]), image_size)

    examples = epochs(records, source.num_examples, start=start_step * global_batch_size)
    examples = examples.map(example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return examples.batch(global_batch_size, drop_remainder=True).prefetch(NUM_PREFETCHED)


def in_order(source: Source, *, image_size: int, batch_size: int) -> tf.data.Dataset:
    """Makes every image once, its longer side resized to S, padded at the bottom and the right.

    Returns:
        a dataset of dicts: "images" uint8 (B, S, S, 3); "maps" uint8 (B, S, S), IGNORED where
        padded; "index" int64 (B,), which image; "size" int32 (B, 2), height and width inside;
        "original" int32 (B, 2), those of the image itself. The last batch may hold fewer.
    """

    def make(index: np.ndarray) -> tuple[*_Pair, npt.NDArray[np.int32]]:
        image, classes = source.pair(int(index))
        height, width = _fitted(classes.shape, image_size)
        resized = _resized(image, classes, (height, width))
        sizes = np.array([(height, width), classes.shape], np.int32)  # (2, 2)
        return *_padded(*resized, image_size), sizes

    def example(index: tf.Tensor) -> dict[str, tf.Tensor]:
        *pair, sizes = python_function(make, [index], [tf.uint8, tf.uint8, tf.int32])
        size, original = tf.unstack(tf.ensure_shape(sizes, (2, 2)))
        more = {"index": index, "size": size, "original": original}
        return {**_typed(pair, image_size), **more}

    examples = tf.data.Dataset.range(source.num_examples)
    examples = examples.map(example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return examples.batch(batch_size).prefetch(NUM_PREFETCHED)


def _typed(pair: list[tf.Tensor], size: int) -> dict[str, tf.Tensor]:
    image, classes = pair
    return {
        "images": tf.ensure_shape(image, (size, size, 3)),
        "maps": tf.ensure_shape(classes, (size, size)),
    }


def _fitted(shape: tuple[int, ...], size: int, scale: float = 1.0) -> tuple[int, int]:
    """Height and width whose longer side is `scale * size`, the aspect kept."""
    ratio = scale * size / max(shape)
    return max(1, round(shape[0] * ratio)), max(1, round(shape[1] * ratio))


def _augmented(
    rng: np.random.Generator, image: np.ndarray, classes: np.ndarray, size: int
) -> _Pair:
    height, width = _fitted(classes.shape, size, rng.uniform(*SCALES))
    image, classes = _resized(image, classes, (height, width))
    top, left = (int(rng.integers(max(side - size, 0) + 1)) for side in (height, width))
    image = image[top : top + size, left : left + size]
    classes = classes[top : top + size, left : left + size]
    if rng.random() < FLIP:
        image, classes = image[:, ::-1], classes[:, ::-1]
    return _padded(image, classes, size)


def _resized(image: np.ndarray, classes: np.ndarray, size: tuple[int, int]) -> _Pair:
    """Resizes an image smoothly, and its classes to the nearest pixel's."""
    height, width = size
    smooth = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    nearest = Image.fromarray(classes).resize((width, height), Image.Resampling.NEAREST)
    return np.asarray(smooth), np.asarray(nearest)


def _padded(image: np.ndarray, classes: np.ndarray, size: int) -> _Pair:
    missing = [(0, size - side) for side in classes.shape]
    return (
        np.pad(image, [*missing, (0, 0)]),
        np.pad(classes, missing, constant_values=IGNORED),
    )
