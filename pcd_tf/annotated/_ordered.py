"""Every image once, in order and without augmentation, as a stream of batches."""

import numpy as np
import tensorflow as tf

from pcd_tf.annotated._augmentation import fitting
from pcd_tf.annotated._source import Source
from pcd_tf.data import python_function

NUM_PREFETCHED = 2  # batches


def in_order(source: Source, *, image_size: int, batch_size: int) -> tf.data.Dataset:
    """Makes every image once, scaled to fit, as `batches` makes them without augmentation.

    Args:
        source: the images.
        image_size: height and width of an image of the batch, in pixels.
        batch_size: images a batch; the last batch may hold fewer.

    Returns:
        a dataset of dicts, B images a batch and S pixels a side:
        "images", uint8 (B, S, S, 3): in their proportions, 0 at the bottom or right;
        "index", int64 (B,), which image of the source;
        "scale", float32 (B,): a pixel of the original times this is a pixel of the S x S;
        "size", int32 (B, 2), the height and width that the image fills.

    Raises:
        tf.errors.InvalidArgumentError: while reading, when an image cannot be decoded; names it.

    Example:
        for batch in in_order(source, image_size=512, batch_size=8):
            boxes = detect(batch["images"])["boxes"] / batch["scale"][:, None, None]
    """

    def read(index: np.ndarray) -> tuple[np.ndarray, np.float32, np.ndarray]:
        image = source.image(int(index))
        placement = fitting(image.shape[0], image.shape[1], image_size)
        size = np.array([placement.height, placement.width], np.int32)
        return placement.pixels(image, image_size), np.float32(placement.scale), size

    def example(index: tf.Tensor) -> dict[str, tf.Tensor]:
        image, scale, size = python_function(read, [index], [tf.uint8, tf.float32, tf.int32])
        return {
            "images": tf.ensure_shape(image, (image_size, image_size, 3)),
            "index": index,
            "scale": tf.ensure_shape(scale, ()),
            "size": tf.ensure_shape(size, (2,)),
        }

    examples = tf.data.Dataset.range(source.num_examples)
    examples = examples.map(example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return examples.batch(batch_size).prefetch(NUM_PREFETCHED)
