"""Every image once, in order and without augmentation, as a stream of batches."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from pcd_tf.data._python_function import python_function
from pcd_tf.data._source import Source
from pcd_tf.data._views import NUM_PREFETCHED, central_square


def images_in_order(
    source: Source,
    *,
    image_size: int,
    batch_size: int,
    start: int = 0,
    crop: Callable[[Image.Image, int], np.ndarray] = central_square,
) -> tf.data.Dataset:
    """Makes every image of a source once, without augmentation.

    No image stands in for one that cannot be decoded: its place is kept, so that what is in a batch
    depends on the numbers of its images alone. It is logged by name.

    Args:
        source: the images.
        image_size: height and width to resize to, in pixels.
        batch_size: images a batch; the last batch may hold fewer.
        start: the image to start at; those before it are not decoded.
        crop: what makes it a square of image_size: the central square resized, as `plain_images`
            makes it, or `centre_crop`.

    Returns:
        a dataset of dicts, B images a batch and S pixels a side:
        "images", uint8 (B, S, S, 3), 0 where the image cannot be decoded;
        "readable", bool (B,), whether it could be;
        "label", int64 (B,), an index into `source.class_names`, or -1;
        "index", int64 (B,), which image of the source.

    Example:
        batches = images_in_order(source, image_size=224, batch_size=64)
    """

    def pixels(index: np.ndarray, payload: Any) -> tuple[np.ndarray, np.bool_]:
        image = source.open_or_skip(int(index), payload)
        if image is None:
            return np.zeros((image_size, image_size, 3), np.uint8), np.False_
        return crop(image, image_size), np.True_

    def example(record: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        inputs = [record["index"], record["payload"]]
        image, readable = python_function(pixels, inputs, [tf.uint8, tf.bool])
        return {
            "images": tf.ensure_shape(image, (image_size, image_size, 3)),
            "readable": tf.ensure_shape(readable, ()),
            "label": record["label"],
            "index": record["index"],
        }

    examples = source.records_in_order(start)
    examples = examples.map(example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return examples.batch(batch_size).prefetch(NUM_PREFETCHED)
