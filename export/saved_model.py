"""SavedModel: for TensorFlow, TensorFlow Serving and what reads it; loads without Keras.

    loaded = tf.saved_model.load(out)
    outputs = loaded.signatures["serving_default"](images=images)

| signature | `images` | |
|---|---|---|
| `serving_default` | uint8 (B, H, W, 3), 0..255 | any B, H and W |
| `float_images` | float32 (B, H, W, 3), 0..255 | any B, H and W |
| `encoded_images` | string (B,) | JPEG or PNG bytes, each of its own size |

Each gives a dict: `embedding` (B, C), `feature_map` (B, h, w, C), and the pyramid's levels. An
encoded image is decoded to RGB and resized, antialiased and without regard to its aspect, to the
square that the student was distilled on. TensorFlow does not read EXIF: an image that is stored
rotated stays rotated; send it upright. Nor does it lay transparent pixels over white, as training
does: send an image without transparency.

The Keras backbone stands in the same directory, as a KerasHub preset:
`keras_hub.models.Backbone.from_preset(f"{out}/keras_hub_preset")` takes normalised images.
"""

from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from pcd_tf.students import Student

PRESET = "keras_hub_preset"


def write(student: Student, directory: Path) -> None:
    """Writes the SavedModel, and the KerasHub preset in a folder of it."""

    def pixels(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return _outputs(student, images)

    def encoded(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return _outputs(student, _decode(images, student.image_size))

    archive = keras.export.ExportArchive()
    for name, function, shape, dtype in (
        ("serving_default", pixels, (None, None, None, 3), tf.uint8),
        ("float_images", pixels, (None, None, None, 3), tf.float32),
        ("encoded_images", encoded, (None,), tf.string),
    ):
        spec = tf.TensorSpec(shape, dtype, name="images")
        archive.add_endpoint(name, function, input_signature=[spec])
    archive.write_out(str(directory), verbose=False)
    student.backbone.save_to_preset(str(directory / PRESET))


def answers(
    student: Student, directory: Path, images: npt.NDArray[np.uint8]
) -> dict[str, dict[str, tf.Tensor]]:
    """Loads what was written and asks each signature about uint8 images (B, H, W, 3).

    `encoded_images` is asked, with PNG, where resizing would change nothing.
    """
    loaded = tf.saved_model.load(str(directory))
    inputs = {
        "serving_default": tf.constant(images),
        "float_images": tf.constant(images, tf.float32),
    }
    if images.shape[1:3] == (student.image_size, student.image_size):
        inputs["encoded_images"] = tf.stack([tf.io.encode_png(image) for image in images])
    return {name: loaded.signatures[name](images=value) for name, value in inputs.items()}


def _outputs(student: Student, images: tf.Tensor) -> dict[str, tf.Tensor]:
    """Computes the outputs, also of no image at all, which the optimised graph cannot take."""
    num_images = tf.shape(images)[0]
    num_blank = tf.cast(num_images == 0, tf.int32)
    not_empty = tf.pad(images, [[0, num_blank], [0, 0], [0, 0], [0, 0]])  # (max(B, 1), H, W, 3)
    return {name: value[:num_images] for name, value in student.outputs(not_empty).items()}


def _decode(encoded: tf.Tensor, image_size: int) -> tf.Tensor:
    """Decodes JPEG or PNG bytes (B,) to float32 images (B, S, S, 3) in 0..255."""

    def one(contents: tf.Tensor) -> tf.Tensor:
        # Takes PNG too; decode_image has no choice of the exact inverse transform, which PIL uses.
        image = tf.io.decode_jpeg(contents, channels=3, dct_method="INTEGER_ACCURATE")
        return tf.image.resize(image, (image_size, image_size), antialias=True)

    decoded = tf.TensorSpec((image_size, image_size, 3), tf.float32)
    return tf.map_fn(one, encoded, fn_output_signature=decoded)
