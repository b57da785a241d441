"""Images and the boxes on them as streams of batches, made in the graph."""

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from pcd_tf import errors
from pcd_tf.data._annotated import MAX_OBJECTS, MIN_SIDE, TOLERANCE, Annotated
from pcd_tf.data._decode import DecodeError
from pcd_tf.data._order import Record, uniform
from pcd_tf.data._pixels import pixels, shrunk
from pcd_tf.data._resize import cut, fitted, letterbox, padded
from pcd_tf.data._stream import batches

NO_OBJECT = -1  # the label of a row without one


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Mirrors and scales an image; what then reaches out of the batch's image is cropped.

    Source: TensorFlow Model Garden, official/vision/configs/retinanet.py,
    `retinanet_resnetfpn_coco` (aug_rand_hflip, aug_scale_min=0.8, aug_scale_max=1.2), and its
    `resize_and_crop_image` in official/vision/ops/preprocess_ops.py.

    Args:
        flip: probability of mirroring left and right.
        scale: smallest and largest size of the image, 1 being the one that just fits.

    Example:
        Augmentation(scale=(0.5, 2.0))
    """

    flip: float = 0.5
    scale: tuple[float, float] = (0.8, 1.2)


NO_AUGMENTATION = Augmentation(flip=0.0, scale=(1.0, 1.0))


def annotated_batches(
    source: Annotated,
    augmentation: Augmentation,
    *,
    image_size: int,
    global_batch_size: int,
    seed: int,
    start_step: int = 0,
) -> tf.data.Dataset:
    """Makes the batches that a detector learns from.

    The stream runs on as that of `two_views` does. Crowds are left out; of an image with more than
    M objects the M largest are kept. An image that cannot be read ends the stream: with labels,
    none can take its place.

    Args:
        source: the images and their objects.
        augmentation: what is changed at random; `NO_AUGMENTATION` for nothing.
        image_size: height and width of an image of the batch, in pixels.
        global_batch_size: images a batch, over all replicas.
        seed: of the order and of the augmentation.
        start_step: the batch to start at; those before it cost no decoding.

    Returns:
        an endless dataset of dicts, B images a batch, S pixels a side, M = MAX_OBJECTS:
        "images", uint8 (B, S, S, 3): scaled in their proportions, 0 at the bottom or right;
        "boxes", float32 (B, M, 4), x1, y1, x2, y2 in pixels of the S x S;
        "labels", int32 (B, M), indices into `class_names`; -1: the row holds no object.

    Raises:
        tf.errors.InvalidArgumentError: while reading, when an image cannot be decoded, or has
            another size than annotated; names it.

    Example:
        annotated_batches(source, Augmentation(), image_size=512, global_batch_size=16, seed=0)
    """
    min_pixels = math.ceil(augmentation.scale[1] * image_size) ** 2  # so that none is enlarged
    sizes = tf.constant(source.sizes)
    all_boxes, all_labels, ends = map(tf.constant, source.learned)

    def example(record: Record) -> dict[str, tf.Tensor]:
        image, factor = _image(source, sizes, record, min_pixels)
        numbers = uniform(seed, record, (4,))
        start, window, size = _placed(augmentation, tf.shape(image)[:2], image_size, numbers[1:])
        piece = cut(image, tf.concat([start, start + window], axis=0), size)
        rows = slice(ends[record["index"]], ends[record["index"] + 1])
        boxes = all_boxes[rows] / tf.cast(factor, tf.float32) - _xyxy(start)
        boxes = tf.clip_by_value(boxes * (_xyxy(size) / _xyxy(window)), 0.0, _xyxy(size))
        piece, boxes = tf.cond(
            numbers[0] < augmentation.flip,
            lambda: (tf.reverse(piece, [1]), _mirrored(boxes, size[1])),
            lambda: (piece, boxes),
        )
        is_seen = tf.reduce_all(boxes[:, 2:] - boxes[:, :2] >= MIN_SIDE - TOLERANCE, axis=1)
        return {
            "images": padded(piece[None], image_size)[0],
            "boxes": _rows(boxes[is_seen], 0.0),
            "labels": _rows(all_labels[rows][is_seen], NO_OBJECT),
        }

    records = source.images.shuffled(seed, start_step * global_batch_size)
    return batches(records, example, global_batch_size, drop_remainder=True)


def annotated_in_order(source: Annotated, *, image_size: int, batch_size: int) -> tf.data.Dataset:
    """Makes every image once, as large as fits: what an exported detector sees, to the pixel.

    Args:
        source: the images.
        image_size: height and width of an image of the batch, in pixels.
        batch_size: images a batch; the last batch may hold fewer.

    Returns:
        a dataset of dicts, B images a batch and S pixels a side:
        "images", uint8 (B, S, S, 3): in their proportions, 0 at the bottom or right;
        "index", int64 (B,), which image of the source;
        "size", int32 (B, 2), its own height and width, for `boxes_in_image`.

    Raises:
        tf.errors.InvalidArgumentError: as `annotated_batches`.

    Example:
        for batch in annotated_in_order(source, image_size=512, batch_size=8):
            boxes = boxes_in_image(detect(batch["images"])["boxes"], batch["size"], 512)
    """
    sizes = tf.constant(source.sizes)

    def example(record: Record) -> dict[str, tf.Tensor]:
        image, _ = _image(source, sizes, record)
        return {
            "images": letterbox(image[None], image_size)[0],
            "index": record["index"],
            "size": sizes[record["index"]],
        }

    records = source.images.chosen(range(source.num_examples))
    return batches(records, example, batch_size, drop_remainder=False)


def annotated_images(source: Annotated, indices: Sequence[int]) -> Iterator[np.ndarray]:
    """Reads images as they are, in rising order, one after another: uint8 (H, W, 3).

    Raises:
        UserError: while reading, when an image cannot be decoded, or has another size than
            annotated; names it.
    """
    sizes = tf.constant(source.sizes)

    def example(record: Record) -> tf.Tensor:
        return _image(source, sizes, record)[0]

    records = source.images.chosen(indices)
    with errors.translated():
        yield from records.map(example, tf.data.AUTOTUNE).as_numpy_iterator()


def _image(
    source: Annotated, sizes: tf.Tensor, record: Record, min_pixels: int | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Makes one image, and tells how many times larger it is annotated: uint8 (H, W, 3), int ()."""

    def refuse(index: np.ndarray, made_size: np.ndarray, size: np.ndarray) -> None:
        source.check_size(int(index))
        raise DecodeError(
            f"Expected {source.image_name(int(index))} of {source.name} in the annotated size, "
            f"{tuple(size.tolist())} (height, width). Received: {tuple(made_size.tolist())}. "
            "Was it exchanged meanwhile? Start again."
        )

    image = pixels(source.images, record, min_pixels=min_pixels)
    return image, shrunk(source.images, record, image, sizes[record["index"]], refuse)


def _placed(
    augmentation: Augmentation, size: tf.Tensor, image_size: int, numbers: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Draws which window of an image is shown, and how large.

    Args:
        augmentation: the scales.
        size: int32 (2,), height and width of the image.
        image_size: the longest side that is shown.
        numbers: float32 (3,), from [0, 1).

    Returns:
        the window's start and size, y and x, int32 (2,) each; and the size it is shown in.
    """
    smallest, largest = augmentation.scale
    longer = tf.round((smallest + (largest - smallest) * numbers[0]) * image_size)
    scaled = fitted(size, tf.maximum(1, tf.cast(longer, tf.int32)))
    shown = tf.minimum(scaled, image_size)
    window = tf.maximum(1, (2 * size * shown + scaled) // (2 * scaled))  # rounded
    start = tf.cast(numbers[1:] * tf.cast(size - window + 1, tf.float32), tf.int32)
    return start, window, shown


def _xyxy(size: tf.Tensor) -> tf.Tensor:
    """y, x, int32 (2,) -> x, y, x, y, float32 (4,)."""
    return tf.cast(tf.gather(size, [1, 0, 1, 0]), tf.float32)


def _mirrored(boxes: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    x1, y1, x2, y2 = tf.unstack(boxes, axis=1)
    width = tf.cast(width, tf.float32)
    return tf.stack([width - x2, y1, width - x1, y2], axis=1)


def _rows(values: tf.Tensor, nothing: float) -> tf.Tensor:
    """Fills up to MAX_OBJECTS rows."""
    missing = MAX_OBJECTS - tf.shape(values)[0]
    paddings = [[0, missing]] + [[0, 0]] * (values.shape.rank - 1)
    filled = tf.pad(values, paddings, constant_values=tf.cast(nothing, values.dtype))
    return tf.ensure_shape(filled, (MAX_OBJECTS, *values.shape[1:]))
