"""One image of a stream as pixels: decoded natively where that can be, by Python where not."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from pcd_tf.data import _native
from pcd_tf.data._order import Record
from pcd_tf.data._python_function import python_function
from pcd_tf.data._source import Source
from pcd_tf.data._stream import attempt

_NONE = -1  # the index of an image in whose place nothing is shown


def pixels(source: Source, record: Record, *, min_pixels: int | None = None) -> tf.Tensor:
    """Makes one image, uint8 (H, W, 3); the graph fails when it cannot be decoded.

    Args:
        source: of the image.
        record: of it.
        min_pixels: see `decode`.
    """

    def read(index: int, payload: Any, **size: int | None) -> tuple[int, Image.Image]:
        return index, source.open(index, payload, **size)

    return _made(source, record, read, min_pixels)[0]


def pixels_or_replacement(
    source: Source, record: Record, *, min_pixels: int | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Makes one image, or that of a replacement: uint8 (H, W, 3), and the index of what is shown.

    See `Source.read`.
    """
    return _made(source, record, source.read, min_pixels)


def pixels_or_black(
    source: Source, record: Record, *, min_pixels: int | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Makes one image: uint8 (H, W, 3), and whether it can be decoded; where not, one black pixel.

    See `Source.open_or_skip`.
    """

    def read(index: int, payload: Any, **size: int | None) -> tuple[int, Image.Image]:
        image = source.open_or_skip(index, payload, **size)
        return (_NONE, Image.new("RGB", (1, 1))) if image is None else (index, image)

    image, shown = _made(source, record, read, min_pixels)
    return image, shown != _NONE


def shrunk(
    source: Source,
    record: Record,
    image: tf.Tensor,
    size: tf.Tensor,
    refuse: Callable[[np.ndarray, np.ndarray, np.ndarray], Any],
) -> tf.Tensor:
    """Tells by how much a decoder shrank an image that has labels for a height and width.

    A decoder takes a whole number of pixels for one, along each side, and rounds the sides up.

    Args:
        source: of the image.
        record: of it.
        image: uint8 (h, w, 3).
        size: int32 (2,), the labels' height and width.
        refuse: raises where the two do not fit; takes "index", (h, w) and `size`.

    Returns:
        that number, int32 ().
    """
    made_size = tf.shape(image)[:2]
    factor = tf.reduce_max(_rounded_up(size, made_size))
    if source.is_native:  # that they fit was seen when they were written
        return factor

    def refused() -> tf.Tensor:
        function = python_function(refuse, [record["index"], made_size, size], tf.int32)
        return tf.ensure_shape(function, ())

    fits = tf.reduce_all(_rounded_up(size, factor) == made_size)
    return tf.cond(fits, lambda: factor, refused)


def _rounded_up(size: tf.Tensor, divisor: tf.Tensor) -> tf.Tensor:
    return -(-size // divisor)


def _made(
    source: Source,
    record: Record,
    read: Callable[..., tuple[int, Image.Image]],
    min_pixels: int | None,
) -> tuple[tf.Tensor, tf.Tensor]:
    def reduced(index: int, payload: Any) -> tuple[int, Image.Image]:
        shown, image = read(index, payload, min_pixels=min_pixels)
        return shown, image if min_pixels is None else _reduced(image, min_pixels)

    def natively(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return _native.decode(encoded, min_pixels)

    return made(source, record, natively, reduced, (None, None, 3))


def made(
    source: Source,
    record: Record,
    natively: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]],
    read: Callable[[int, Any], tuple[int, Image.Image]],
    shape: tuple[int | None, ...],
) -> tuple[tf.Tensor, tf.Tensor]:
    """Makes an image in the graph, or in Python where the graph declines to, or fails.

    Args:
        source: of the image.
        record: of it.
        natively: its bytes -> whether it is made in the graph, and its pixels.
        read: its index and payload -> the index of what is shown, and the image.
        shape: of the pixels.

    Returns:
        its pixels, uint8; the index of what is shown, int64 ().
    """

    def by_python() -> tuple[tf.Tensor, tf.Tensor]:
        def function(index: np.ndarray, payload: Any = None) -> tuple[np.ndarray, np.int64]:
            shown, image = read(int(index), payload)
            return np.asarray(image), np.int64(shown)

        inputs = [record[key] for key in ("index", "payload") if key in record]
        image, shown = python_function(function, inputs, [tf.uint8, tf.int64])
        return tf.ensure_shape(image, shape), tf.ensure_shape(shown, ())

    if not source.is_encoded:
        return by_python()
    if source.is_native:
        is_made, image = natively(source.encoded(record))
        return _seen(image, is_made), record["index"]
    nothing = tf.constant(False), tf.zeros([side or 0 for side in shape], tf.uint8)
    is_made, image = attempt(lambda given: natively(source.encoded(given)), dict(record), nothing)
    return tf.cond(is_made, lambda: (image, record["index"]), by_python)


def _seen(image: tf.Tensor, is_made: tf.Tensor) -> tf.Tensor:
    """Gives what was decoded of a record, which was seen to be decoded when it was written."""
    fault = (
        "Expected images of no more than --max_pixels in the records. Received: a larger one. "
        "Raise it, or prepare them with a smaller --max_side."
    )
    with tf.control_dependencies([tf.debugging.Assert(is_made, [fault])]):
        return tf.identity(image)


def _reduced(image: Image.Image, min_pixels: int) -> Image.Image:
    """Shrinks what only a JPEG's decoder makes small at once, so that little memory is kept."""
    factor = math.isqrt(image.width * image.height // min_pixels)
    # Sides are rounded up: of fewer pixels than this, `shrunk` could not tell the factor.
    factor = min(factor, math.isqrt(max(image.size) // 8), *image.size)
    return image.reduce(factor) if factor > 1 else image
