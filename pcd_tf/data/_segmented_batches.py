"""Batches of images with class maps: augmented without end, or each once and in order."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from pcd_tf import errors
from pcd_tf.data import IGNORED
from pcd_tf.data._order import Record, uniform
from pcd_tf.data._pixels import pixels, shrunk
from pcd_tf.data._resize import cut, fitted, padded, resize, resize_classes
from pcd_tf.data._segmented import Segmented
from pcd_tf.data._stream import batches
from pcd_tf.errors import UserError

# Chen et al., "Encoder-Decoder with Atrous Separable Convolution", 2018, arXiv 1802.02611, section
# 4.1, and their code.
SCALES = (0.5, 2.0)
FLIP = 0.5  # probability


def segmented_batches(
    source: Segmented, *, image_size: int, global_batch_size: int, seed: int, start_step: int = 0
) -> tf.data.Dataset:
    """Makes the endless stream of augmented batches from a step on.

    The stream runs on as that of `two_views` does, whose further arguments these are. Images are
    scaled, cropped or padded to a square, and mirrored at random. An image that cannot be read ends
    the stream: with labels, none can take its place.

    Returns:
        a dataset of dicts, B images a batch, S pixels a side: "images" uint8 (B, S, S, 3), 0 where
        padded; "maps" uint8 (B, S, S), IGNORED where padded.

    Raises:
        tf.errors.InvalidArgumentError: while reading, when an image or its map cannot be decoded,
            or the two do not fit; names it.
    """
    # Enough for the largest scale to enlarge nothing.
    min_pixels = round((SCALES[1] * image_size) ** 2)

    def example(record: Record) -> dict[str, tf.Tensor]:
        image, classes, factor = _pair(source, record, min_pixels)
        numbers = uniform(seed, record, (4,))
        box, filled = _window(tf.shape(image)[:2], image_size, numbers[:3])
        image = cut(image, box, filled)
        box *= factor
        classes = resize_classes(classes[box[0] : box[2], box[1] : box[3]], filled)
        image, classes = tf.cond(
            numbers[3] < FLIP,
            lambda: (tf.reverse(image, [1]), tf.reverse(classes, [1])),
            lambda: (image, classes),
        )
        return _padded(image, classes, image_size)

    records = source.images.shuffled(seed, start_step * global_batch_size)
    return batches(records, example, global_batch_size, drop_remainder=True)


def segmented_in_order(source: Segmented, *, image_size: int, batch_size: int) -> tf.data.Dataset:
    """Makes every image once in the letterbox (see `pcd_tf.data.letterbox`), its classes with it.

    Returns:
        a dataset of dicts: "images" uint8 (B, S, S, 3); "maps" uint8 (B, S, S), IGNORED where
        padded; "index" int64 (B,), which image; "size" int32 (B, 2), height and width inside;
        "original" int32 (B, 2), those of the image itself. The last batch may hold fewer.
    """

    def example(record: Record) -> dict[str, tf.Tensor]:
        image, classes, _ = _pair(source, record, min_pixels=None)
        original = tf.shape(classes)
        size = fitted(original, image_size)
        image, classes = resize(image[None], size)[0], resize_classes(classes, size)
        return {
            **_padded(image, classes, image_size),
            "index": record["index"],
            "size": size,
            "original": original,
        }

    records = source.images.chosen(range(source.num_examples))
    return batches(records, example, batch_size, drop_remainder=False)


def class_maps(source: Segmented) -> Iterator[npt.NDArray[np.uint8]]:
    """Reads all class maps as they are, one after another: uint8 (H, W).

    Raises:
        UserError: while reading, when a map cannot be used; names it.
    """
    records = source.images.chosen(range(source.num_examples))
    with errors.translated():
        yield from records.map(source.semantic_map_of, tf.data.AUTOTUNE).as_numpy_iterator()


def _pair(
    source: Segmented, record: Record, min_pixels: int | None
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Makes an image and its class map; refuses those of two sizes.

    Returns:
        uint8 (h, w, 3); uint8 (H, W); int32 (), how many pixels of the map make one of the image
        along each side: see `shrunk`.
    """
    image = pixels(source.images, record, min_pixels=min_pixels)
    with tf.control_dependencies([image]):  # one that is drawn is drawn once for both
        classes = source.semantic_map_of({key: tf.identity(x) for key, x in record.items()})

    def refuse(index: np.ndarray, size: np.ndarray, of_map: np.ndarray) -> None:
        raise UserError(
            f"Expected an image and a class map of one size. Received: {tuple(size.tolist())} and "
            f"{tuple(of_map.tolist())} (height, width) of {source.image_name(int(index))} in "
            f"{source.name}."
        )

    return image, classes, shrunk(source.images, record, image, tf.shape(classes), refuse)


def _window(size: tf.Tensor, image_size: int, numbers: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Chooses the part of an image that is shown, and its height and width in the result.

    Args:
        size: int32 (2,), height and width of the image.
        image_size: S.
        numbers: float32 (3,), from [0, 1).

    Returns:
        int32 (4,), y0, x0, y1, x1; int32 (2,), S at most.
    """
    size = tf.cast(size, tf.float32)
    scale = SCALES[0] + (SCALES[1] - SCALES[0]) * numbers[0]
    enlarged = scale * image_size / tf.reduce_max(size)
    sides = tf.minimum(tf.maximum(tf.round(image_size / enlarged), 1), size)
    whole = tf.maximum(tf.round(size * enlarged), 1)
    filled = tf.where(sides < size, float(image_size), tf.minimum(whole, image_size))
    start = tf.floor(numbers[1:3] * (size - sides + 1))
    box = tf.concat([start, start + sides], axis=0)
    return tf.cast(box, tf.int32), tf.cast(filled, tf.int32)


def _padded(image: tf.Tensor, classes: tf.Tensor, image_size: int) -> dict[str, tf.Tensor]:
    return {
        "images": padded(image[None], image_size)[0],
        "maps": padded(classes[None, ..., None], image_size, IGNORED)[0, ..., 0],
    }
