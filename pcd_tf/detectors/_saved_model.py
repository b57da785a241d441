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
the bottom or the right, as in training and to the pixel as in evaluation. TensorFlow does not read
EXIF: send images upright.
"""

import os
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from pcd_tf import data


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
            "boxes": data.boxes_in_image(found["boxes"], sizes, image_size),
            "scores": found["scores"],
            "classes": found["classes"],
            "count": found["count"],
            "class_names": tf.constant(list(class_names)),
        }

    def pixels(images: tf.Tensor) -> dict[str, tf.Tensor]:
        shape = tf.shape(images)
        return outputs(data.letterbox(images, image_size), tf.tile(shape[None, 1:3], [shape[0], 1]))

    def encoded(images: tf.Tensor) -> dict[str, tf.Tensor]:
        def one(contents: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            # Takes PNG too; decode_image has no choice of the exact inverse transform.
            image = tf.io.decode_jpeg(contents, channels=3, dct_method="INTEGER_ACCURATE")
            return data.letterbox(image[None], image_size)[0], tf.shape(image)[:2]

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
