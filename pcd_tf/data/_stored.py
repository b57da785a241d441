"""One image as it is stored in a record: what TensorFlow decodes alone, and not too large."""

import contextlib
import functools
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from pycocotools import mask as coco_mask

from pcd_tf.data import _native
from pcd_tf.data._annotated import Annotated
from pcd_tf.data._order import Record
from pcd_tf.data._records import Objects
from pcd_tf.data._resize import fitted, resize, resize_classes
from pcd_tf.data._source import Source

# Pillow's documentation of JPEG: "Values above 95 should be avoided", as they make large files and
# hardly a better picture; TensorFlow's default as well.
_QUALITY = 95
# A JPEG that is shrunk is decoded at twice the result's height and width at least.
_ENOUGH = 2**2

Size = tuple[int, int]  # height, width


def stored(
    images: Source, record: Record, *, max_side: int, size: Size | None = None
) -> tuple[bytes, Size]:
    """Makes the bytes of an image that are kept, each image decoded once to see that it can be.

    A JPEG or PNG file that TensorFlow decodes, and that is small enough, stays as it is. What is
    written anew is a JPEG where the file was one of the lossy formats, and else a PNG: nothing is
    lost but by shrinking, where nothing was lost before.

    Args:
        images: the source.
        record: of the image, of `images.chosen`.
        max_side: longest side, in pixels; a larger image is shrunk.
        size: its height and width, where they are known: what is kept then fits labels of that size
            to the pixel.

    Returns:
        the bytes; height and width of what they hold.

    Raises:
        DecodeError: when it cannot be decoded; names it.
    """
    encoded = b""
    if images.is_encoded:
        with contextlib.suppress(tf.errors.OpError):  # `open` says what is wrong, if it is
            encoded = images.encoded(record).numpy()
            is_native, shape = _seen(encoded)
            if is_native and max(shape.numpy()) <= max_side:
                return encoded, tuple(shape.numpy().tolist())
    payload = record["payload"].numpy() if "payload" in record else None
    image = np.asarray(images.open(int(record["index"]), payload, min_pixels=_ENOUGH * max_side**2))
    target = small(size or (image.shape[0], image.shape[1]), max_side)
    if target != image.shape[:2]:
        image = resize(image[None], target)[0]
    if _is_lossy(encoded):
        return tf.io.encode_jpeg(image, quality=_QUALITY).numpy(), target
    return tf.io.encode_png(image).numpy(), target


def small(size: Size, max_side: int) -> Size:
    """Gives the height and width of what is kept of an image."""
    if max(size) <= max_side:
        return size
    height, width = fitted(tf.constant(size), max_side).numpy().tolist()
    return height, width


def stored_map(ids: npt.NDArray[np.uint8], size: Size) -> bytes:
    """Makes a greyscale PNG of class ids, uint8 (H, W), of the size of the image that is kept."""
    if ids.shape != size:
        ids = resize_classes(tf.constant(ids), size).numpy()
    return bytes(tf.io.encode_png(ids[..., None]).numpy())


def stored_objects(source: Annotated, index: int, size: Size) -> Objects:
    """Gives what is annotated on an image, scaled to the size of the image that is kept."""
    objects, masks = source.objects(index), source.masks(index)
    height, width = size
    scale_y, scale_x = height / objects.height, width / objects.width
    is_scaled = (scale_y, scale_x) != (1, 1)
    boxes, areas = objects.boxes, objects.areas
    if is_scaled:
        boxes = boxes * [scale_x, scale_y, scale_x, scale_y]
        areas = None if areas is None else areas * (scale_x * scale_y)
    return Objects(
        image_id=objects.image_id,
        height=height,
        width=width,
        boxes=boxes.tolist(),
        labels=objects.labels.tolist(),
        crowd=objects.crowd.tolist(),
        areas=None if areas is None else areas.tolist(),
        masks=None
        if masks is None
        else [_scaled_mask(mask, size) if is_scaled else mask["counts"] for mask in masks],
    )


def _scaled_mask(mask: dict[str, Any], size: Size) -> str:
    pixels = resize_classes(tf.constant(coco_mask.decode(mask)), size).numpy()
    return coco_mask.encode(np.asfortranarray(pixels))["counts"].decode("ascii")


@functools.cache
def _seen_in_graph() -> Any:
    def seen(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        is_native, image = _native.decode(encoded)
        return is_native, tf.shape(image)[:2]

    return tf.function(seen, input_signature=[tf.TensorSpec((), tf.string)])


def _seen(encoded: bytes) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes an image: whether TensorFlow does, and height and width."""
    return _seen_in_graph()(encoded)


def _is_lossy(encoded: bytes) -> bool:
    """Tells JPEG, WebP and AVIF files from others by their first bytes."""
    return encoded[:3] == b"\xff\xd8\xff" or encoded[8:12] == b"WEBP" or encoded[4:8] == b"ftyp"
