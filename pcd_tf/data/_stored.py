"""One image as it is stored in a record: what TensorFlow decodes alone, and not too large."""

import contextlib
import dataclasses
import functools
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from pycocotools import mask as coco_mask

from pcd_tf.data import _native
from pcd_tf.data._annotated import Annotated, Annotation
from pcd_tf.data._order import Record
from pcd_tf.data._resize import fitted, resize, resize_classes
from pcd_tf.data._source import Source

# Pillow's documentation of JPEG: "Values above 95 should be avoided", as they make large files and
# hardly a better picture; TensorFlow's default as well.
_QUALITY = 95
# A JPEG that is shrunk is decoded at twice the result's height and width at least.
_ENOUGH = 2**2

Size = tuple[int, int]  # height, width


def stored(
    images: Source, record: Record, max_side: int, labelled: Size | None = None
) -> tuple[bytes, Size]:
    """Makes the bytes of an image that are kept, each image decoded once to see that it can be.

    A JPEG or PNG file that TensorFlow decodes, and that is small enough, stays as it is. What is
    written anew is a JPEG where the file was of a lossy format, and else a PNG.

    Args:
        images: the source.
        record: of the image, of `images.chosen`.
        max_side: longest side, in pixels; a larger image is shrunk.
        labelled: its height and width, where they are known: a large JPEG is decoded smaller.

    Returns:
        the bytes; height and width of what they hold.

    Raises:
        DecodeError: when it cannot be decoded; names it.
    """
    encoded = b""
    if images.is_encoded:
        with contextlib.suppress(tf.errors.OpError):  # `open` says what is wrong, if it is
            encoded = images.encoded(record).numpy()
            is_native, size = _seen()(encoded)
            if is_native and max(size.numpy()) <= max_side:
                return encoded, tuple(size.numpy().tolist())
    payload = record["payload"].numpy() if "payload" in record else None
    image = np.asarray(images.open(int(record["index"]), payload, min_pixels=_ENOUGH * max_side**2))
    size = labelled or image.shape[:2]
    if max(size) > max_side:
        size = tuple(fitted(tf.constant(size), max_side).numpy().tolist())
    if size != image.shape[:2]:
        image = resize(image[None], size)[0]
    if _is_lossy(encoded):
        return tf.io.encode_jpeg(image, quality=_QUALITY).numpy(), size
    return tf.io.encode_png(image).numpy(), size


def stored_map(ids: npt.NDArray[np.uint8], size: Size) -> bytes:
    """Makes a greyscale PNG of class ids, uint8 (H, W), of the size of the image that is kept."""
    return tf.io.encode_png(resize_classes(tf.constant(ids), size)[..., None]).numpy()


def stored_objects(source: Annotated, index: int, size: Size) -> Annotation:
    """Gives what is annotated on an image, scaled to the size of the image that is kept."""
    objects, masks = source.objects(index), source.masks(index)
    scale_y, scale_x = np.array(size) / source.size(index)
    areas = objects.areas
    if masks and size != source.size(index):
        masks = _scaled(masks, size)
    return dataclasses.replace(
        objects,
        height=size[0],
        width=size[1],
        boxes=objects.boxes * [scale_x, scale_y, scale_x, scale_y],
        areas=None if areas is None else areas * (scale_x * scale_y),
        segmentations=None
        if masks is None
        else [msgspec.Raw(msgspec.json.encode(mask)) for mask in masks],
    )


def _scaled(masks: list[dict[str, Any]], size: Size) -> list[dict[str, Any]]:
    pixels = np.moveaxis(coco_mask.decode(masks), -1, 0)  # [n, H, W]
    pixels = np.moveaxis(resize_classes(tf.constant(pixels), size).numpy(), 0, -1)
    scaled = coco_mask.encode(np.asfortranarray(pixels))
    return [{"size": size, "counts": mask["counts"].decode("ascii")} for mask in scaled]


@functools.cache
def _seen() -> Any:
    """Decodes an image: whether TensorFlow alone makes it upright, and height and width."""

    def seen(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        is_native, image = _native.decode(encoded)
        is_upright = _native.orientation_of(encoded) == _native.UPRIGHT
        return is_native & is_upright, tf.shape(image)[:2]

    return tf.function(seen, input_signature=[tf.TensorSpec((), tf.string)])


def _is_lossy(encoded: bytes) -> bool:
    """Tells JPEG, WebP and AVIF files from others by their first bytes."""
    return encoded[:3] == b"\xff\xd8\xff" or encoded[8:12] == b"WEBP" or encoded[4:8] == b"ftyp"
