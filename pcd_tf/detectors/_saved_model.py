"""A detector as a SavedModel: any images in, boxes in their pixels out; loads without Keras.

    find = tf.saved_model.load(directory).signatures["serving_default"]
    found = find(images=images)

| signature | `images` | |
|---|---|---|
| `serving_default` | uint8 (B, H, W, 3), 0..255 | any B, H and W |
| `encoded_images` | string (B,) | JPEG or PNG bytes, each of its own size |

Each gives a dict, N boxes an image at most, the best first, zeros behind the last one:

| output | | |
|---|---|---|
| `boxes` | float32 (B, N, 4) | x1, y1, x2, y2 in pixels of the given image |
| `scores` | float32 (B, N) | 0..1 |
| `classes` | int32 (B, N) | an index into `class_names` |
| `count` | int32 (B,) | how many there are |
| `class_names` | string (K,) | the same always |

An image is resized, antialiased, until its longer side fits the detector, and padded with black at
the bottom or the right, as in training. TensorFlow does not read EXIF: send images upright.
"""

import os
from collections.abc import Sequence
from typing import Any

import tensorflow as tf


def write(
    model: Any,
    directory: str | os.PathLike[str],
    *,
    image_size: int,
    class_names: Sequence[str],
    score_threshold: float,
) -> None:
    """Writes the SavedModel; the arguments are those of `pcd_tf.detectors.export`."""

    def outputs(inputs: tf.Tensor, sizes: tf.Tensor) -> dict[str, tf.Tensor]:
        found = model.detect(inputs, score_threshold=score_threshold)
        return {
            "boxes": _to_image(found["boxes"], sizes, image_size),
            "scores": found["scores"],
            "classes": found["classes"],
            "count": found["count"],
            "class_names": tf.constant(list(class_names)),
        }

    def pixels(images: tf.Tensor) -> dict[str, tf.Tensor]:
        shape = tf.shape(images)
        return outputs(_fit(images, image_size), tf.tile(shape[None, 1:3], [shape[0], 1]))

    def encoded(images: tf.Tensor) -> dict[str, tf.Tensor]:
        def one(contents: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            # Takes PNG too; decode_image has no choice of the exact inverse transform.
            image = tf.io.decode_jpeg(contents, channels=3, dct_method="INTEGER_ACCURATE")
            return _fit(image[None], image_size)[0], tf.shape(image)[:2]

        specs = (
            tf.TensorSpec((image_size, image_size, 3), tf.uint8),
            tf.TensorSpec((2,), tf.int32),
        )
        return outputs(*tf.map_fn(one, images, fn_output_signature=specs))

    signatures = {
        "serving_default": _concrete(pixels, tf.TensorSpec((None, None, None, 3), tf.uint8)),
        "encoded_images": _concrete(encoded, tf.TensorSpec((None,), tf.string)),
    }
    module = tf.Module()
    module.weights = [signature.variables for signature in signatures.values()]
    tf.saved_model.save(module, os.fspath(directory), signatures=signatures)


def _concrete(function: Any, spec: tf.TensorSpec) -> Any:
    named = tf.TensorSpec(spec.shape, spec.dtype, name="images")
    return tf.function(function, input_signature=[named]).get_concrete_function()


def _fit(images: tf.Tensor, image_size: int) -> tf.Tensor:
    """Resizes uint8 (B, H, W, 3) to S pixels on the longer side, and pads: uint8 (B, S, S, 3).

    The arithmetic of `pcd_tf.annotated.in_order`: both axes are scaled by exactly the same, and
    what is left of a pixel at the far end of the shorter one is left out.
    """
    size = tf.shape(images)[1:3]  # [2]
    scale = _scale(size, image_size)
    filled = tf.maximum(tf.cast(tf.cast(size, tf.float64) * scale + 1e-6, tf.int32), 1)  # [2]
    values = tf.raw_ops.ScaleAndTranslate(
        images=images,
        size=(image_size, image_size),
        scale=tf.cast(tf.stack([scale, scale]), tf.float32),
        translation=(0.0, 0.0),
        kernel_type="triangle",  # bilinear
        antialias=True,
    )
    values = tf.cast(tf.clip_by_value(tf.round(values), 0.0, 255.0), tf.uint8)
    values = values[:, : filled[0], : filled[1]]
    values = tf.image.pad_to_bounding_box(values, 0, 0, image_size, image_size)
    return tf.ensure_shape(values, (None, image_size, image_size, 3))


def _to_image(boxes: tf.Tensor, sizes: tf.Tensor, image_size: int) -> tf.Tensor:
    """Brings boxes (B, N, 4) from the padded images to images of sizes (B, 2), and inside them."""
    scale = tf.cast(_scale(sizes, image_size), tf.float32)  # [B]
    ends = tf.cast(tf.gather(sizes, [1, 0, 1, 0], axis=1), tf.float32)  # [B, 4]: width, height, ..
    return tf.minimum(boxes / scale[:, None, None], ends[:, None])


def _scale(sizes: tf.Tensor, image_size: int) -> tf.Tensor:
    """A pixel of an image of size (..., 2) times this, float64 (...), is one of the S x S."""
    return image_size / tf.cast(tf.reduce_max(sizes, axis=-1), tf.float64)
