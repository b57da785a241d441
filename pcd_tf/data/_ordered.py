"""Images once, in order and without augmentation, as a stream of batches."""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from pcd_tf.data._order import Record
from pcd_tf.data._pixels import pixels_or_black, pixels_or_replacement
from pcd_tf.data._resize import cut
from pcd_tf.data._source import Source
from pcd_tf.data._stream import batches

Crop = Callable[[tf.Tensor, int], tf.Tensor]
# An image of more pixels than this times those of the result may be decoded smaller.
_ENOUGH = 4**2


def central_square(size: tf.Tensor, image_size: int) -> tf.Tensor:
    """Chooses the largest square in the middle: height and width -> y0, x0, y1, x1, in pixels."""
    del image_size
    side = tf.reduce_min(size)
    start = (size - side) // 2
    return tf.concat([start, start + side], axis=0)


def centre_crop(size: tf.Tensor, image_size: int) -> tf.Tensor:
    """Chooses what is left when the short side is resized to 256/224 of S and the centre cut out.

    As the protocols that evaluate whole images do (MoCo v3's and DINO's `Resize(256)`, then
    `CenterCrop(224)`), with torchvision's rounding, to the nearest whole pixels of the image.
    """
    short, least = round(image_size * 256 / 224), tf.reduce_min(size)
    resized = size * short // least
    margin = tf.round((resized - image_size) / 2)
    start = tf.cast(tf.round(margin * (size / resized)), tf.int32)
    side = tf.maximum(1, (2 * least * image_size + short) // (2 * short))
    start = tf.minimum(start, size - side)
    return tf.concat([start, start + side], axis=0)


def images_in_order(
    source: Source,
    *,
    image_size: int,
    batch_size: int,
    start: int = 0,
    crop: Crop = central_square,
) -> tf.data.Dataset:
    """Makes every image of a source once, without augmentation.

    No image stands in for one that cannot be decoded: its place is kept, so that what is in a batch
    depends on the numbers of its images alone. It is logged by name.

    Args:
        source: the images.
        image_size: height and width to resize to, in pixels.
        batch_size: images a batch; the last batch may hold fewer.
        start: the image to start at; those before it are not decoded.
        crop: which square is resized: `central_square` or `centre_crop`.

    Returns:
        a dataset of dicts, B images a batch and S pixels a side:
        "images", uint8 (B, S, S, 3), 0 where the image cannot be decoded;
        "readable", bool (B,), whether it could be;
        "label", int64 (B,), an index into `source.class_names`, or -1;
        "index", int64 (B,), which image of the source.

    Example:
        batches = images_in_order(source, image_size=224, batch_size=64)
    """

    def example(record: Record) -> dict[str, tf.Tensor]:
        image, readable = pixels_or_black(source, record, min_pixels=_ENOUGH * image_size**2)
        return {
            "images": cut(image, crop(tf.shape(image)[:2], image_size), (image_size, image_size)),
            "readable": readable,
            "label": record["label"],
            "index": record["index"],
        }

    records = source.chosen(range(start, source.num_examples))
    return batches(records, example, batch_size, drop_remainder=False)


def plain_images(source: Source, *, image_size: int, indices: Sequence[int]) -> np.ndarray:
    """Makes images without augmentation, for pictures: the central square, resized.

    Returns:
        uint8 (n, S, S, 3): n indices, S = image_size.
    """

    def example(record: Record) -> dict[str, tf.Tensor]:
        image, _ = pixels_or_replacement(source, record, min_pixels=_ENOUGH * image_size**2)
        box = central_square(tf.shape(image)[:2], image_size)
        return {"images": cut(image, box, (image_size, image_size))}

    stream = batches(source.chosen(indices), example, len(indices), drop_remainder=False)
    (batch,) = stream.as_numpy_iterator()
    return batch["images"]
