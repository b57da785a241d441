"""SavedModel: for TensorFlow, TensorFlow Serving and what reads it; loads without Keras.

    loaded = tf.saved_model.load(out)
    outputs = loaded.signatures["serving_default"](images=images)

| signature | `images` | |
|---|---|---|
| `serving_default` | uint8 (B, H, W, 3), 0..255 | any B, H and W |
| `float_images` | float32 (B, H, W, 3), 0..255 | any B, H and W |
| `encoded_images` | string (B,) | JPEG or PNG bytes, each of its own size |

Each gives a dict: `embedding` (B, C), `feature_map` (B, h, w, C), and the pyramid's levels. For
servers that want fixed shapes, `--image_size` settles H and W, `--batch_size` B. An encoded image
is decoded to RGB and resized, antialiased and without regard to its aspect, to that size, or else
to the square that the student was distilled on. TensorFlow does not read EXIF: an image that is
stored rotated stays rotated; send it upright. Nor does it lay transparent pixels over white, as
training does: send an image without transparency.

The Keras backbone of a student that KerasHub knows stands in the same directory, as its preset:
`keras_hub.models.Backbone.from_preset(f"{out}/keras_hub_preset")` takes normalised images.
"""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from export import _preset
from export._order import Order
from export._verify import Entrance
from pcd_tf.students import Student

PRESET = "keras_hub_preset"


def write(order: Order, directory: Path) -> None:
    """Writes the SavedModel, and the KerasHub preset in a folder of it."""
    student = order.student

    def pixels(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return _outputs(student, images)

    def encoded(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return _outputs(student, _decode(images, order.size_or_run))

    archive = keras.export.ExportArchive()
    for name, function, shape, dtype in (
        ("serving_default", pixels, order.input_shape, tf.uint8),
        ("float_images", pixels, order.input_shape, tf.float32),
        ("encoded_images", encoded, (order.batch_size,), tf.string),
    ):
        spec = tf.TensorSpec(shape, dtype, name="images")
        archive.add_endpoint(name, function, input_signature=[spec])
    archive.write_out(str(directory), verbose=False)
    if _preset.is_possible(student):
        _preset.write(student, directory / PRESET, order.size_or_run)


def entrances(order: Order, directory: Path) -> dict[str, Entrance]:
    """Loads what was written; its signatures are the entrances, and the preset beside them.

    `encoded_images` is asked, with PNG, where resizing would change nothing.
    """
    signatures = tf.saved_model.load(str(directory)).signatures

    def encoded(images: npt.NDArray[np.uint8]) -> dict[str, Any] | None:
        if images.shape[1:3] != order.size_or_run:
            return None
        pngs = tf.stack([tf.io.encode_png(image) for image in images])
        return dict(signatures["encoded_images"](images=pngs))

    named: dict[str, Entrance] = {
        "serving_default": lambda images: signatures["serving_default"](images=tf.constant(images)),
        "float_images": lambda images: signatures["float_images"](
            images=tf.constant(images, tf.float32)
        ),
        "encoded_images": encoded,
    }
    if (directory / PRESET).is_dir():
        named[PRESET] = _preset.entrance(order.student, directory / PRESET)
    return named


def _outputs(student: Student, images: tf.Tensor) -> dict[str, tf.Tensor]:
    """Computes the outputs, also of no image at all, which the optimised graph cannot take."""
    if images.shape[0] is not None:
        return student.outputs(images)
    num_images = tf.shape(images)[0]
    num_blank = tf.cast(num_images == 0, tf.int32)
    not_empty = tf.pad(images, [[0, num_blank], [0, 0], [0, 0], [0, 0]])  # (max(B, 1), H, W, 3)
    return {name: value[:num_images] for name, value in student.outputs(not_empty).items()}


def _decode(encoded: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Decodes JPEG or PNG bytes (B,) to float32 images (B, H, W, 3) in 0..255."""

    def one(contents: tf.Tensor) -> tf.Tensor:
        # Takes PNG too; decode_image has no choice of the exact inverse transform, which PIL uses.
        image = tf.io.decode_jpeg(contents, channels=3, dct_method="INTEGER_ACCURATE")
        return tf.image.resize(image, size, antialias=True)

    decoded = tf.TensorSpec((*size, 3), tf.float32)
    return tf.map_fn(one, encoded, fn_output_signature=decoded)
