"""One image of a stream as pixels: decoded natively where that can be, by Python where not."""

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

NONE = -1  # the index of an image in whose place nothing is shown


def pixels(source: Source, record: Record, *, min_pixels: int | None = None) -> tf.Tensor:
    """Makes one image, uint8 (H, W, 3); the graph fails when it cannot be decoded.

    Args:
        source: of the image.
        record: of it.
        min_pixels: see `decode`.
    """

    def read(index: int, payload: Any) -> tuple[int, Image.Image]:
        return index, source.open(index, payload, min_pixels=min_pixels)

    return _made(source, record, read, min_pixels)[0]


def pixels_or_replacement(
    source: Source, record: Record, *, min_pixels: int | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Makes one image, or that of a replacement: uint8 (H, W, 3), and the index of what is shown.

    See `Source.read`.
    """

    def read(index: int, payload: Any) -> tuple[int, Image.Image]:
        return source.read(index, payload, min_pixels=min_pixels)

    return _made(source, record, read, min_pixels)


def pixels_or_black(
    source: Source, record: Record, *, min_pixels: int | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Makes one image: uint8 (H, W, 3), and whether it can be decoded; where not, one black pixel.

    See `Source.open_or_skip`.
    """

    def read(index: int, payload: Any) -> tuple[int, Image.Image]:
        image = source.open_or_skip(index, payload, min_pixels=min_pixels)
        return (NONE, Image.new("RGB", (1, 1))) if image is None else (index, image)

    image, shown = _made(source, record, read, min_pixels)
    return image, shown != NONE


def _made(
    source: Source,
    record: Record,
    read: Callable[[int, Any], tuple[int, Image.Image]],
    min_pixels: int | None,
) -> tuple[tf.Tensor, tf.Tensor]:
    index = record["index"]

    def by_python() -> tuple[tf.Tensor, tf.Tensor]:
        inputs = [index, *([record["payload"]] if "payload" in record else [])]

        def function(index: np.ndarray, payload: Any = None) -> tuple[np.ndarray, np.int64]:
            shown, image = read(int(index), payload)
            return np.asarray(_reduced(image, min_pixels)), np.int64(shown)

        image, shown = python_function(function, inputs, [tf.uint8, tf.int64])
        return tf.ensure_shape(image, (None, None, 3)), tf.ensure_shape(shown, ())

    def natively(record: Record) -> tuple[tf.Tensor, tf.Tensor]:
        return _native.decode(source.encoded(record), min_pixels)

    if not source.is_encoded:
        return by_python()
    if source.is_native:
        is_made, image = natively(record)
        return made_natively(image, is_made), index
    nothing = tf.constant(False), tf.zeros((0, 0, 3), tf.uint8)
    is_made, image = attempt(natively, dict(record), nothing)
    return tf.cond(is_made, lambda: (image, index), by_python)


def made_natively(image: tf.Tensor, is_made: tf.Tensor) -> tf.Tensor:
    """Gives what was decoded of a record, which was seen to be decoded when it was written."""
    fault = (
        "Expected images of no more than --max_pixels in the records. Received: a larger one. "
        "Raise it, or prepare them with a smaller --max_side."
    )
    with tf.control_dependencies([tf.debugging.Assert(is_made, [fault])]):
        return tf.identity(image)


def _reduced(image: Image.Image, min_pixels: int | None) -> Image.Image:
    """Shrinks what only a JPEG's decoder makes small at once, so that little memory is kept."""
    if min_pixels is None:
        return image
    factor = int((image.width * image.height / min_pixels) ** 0.5)
    factor = min(factor, *image.size)
    return image.reduce(factor) if factor > 1 else image
