"""A segmenter as a SavedModel: images in, the class of each pixel out; loads without Keras.

    segment = tf.saved_model.load(directory).signatures["serving_default"]
    segment(images=images)["classes"]  # uint8 (B, H, W), an index into `class_names`

`images` are uint8 (B, H, W, 3), of any size. They are resized, antialiased, until the longer side
fits the segmenter, and padded with black; the logits are brought back to the images' own size.
"""

import os
from pathlib import Path

import tensorflow as tf

from pcd_tf.segmenters._segmenter import Segmenter


def write(model: Segmenter, directory: str | os.PathLike[str], *, image_size: int) -> None:
    """Writes the SavedModel; see `pcd_tf.segmenters.export`."""

    def outputs(images: tf.Tensor) -> dict[str, tf.Tensor]:
        size = tf.shape(images)[1:3]  # [2]
        scale = image_size / tf.cast(tf.reduce_max(size), tf.float64)
        filled = tf.cast(tf.round(tf.cast(size, tf.float64) * scale), tf.int32)
        filled = tf.maximum(filled, 1)  # [2]
        resized = tf.image.resize(images, filled, antialias=True)
        resized = tf.image.pad_to_bounding_box(tf.round(resized), 0, 0, image_size, image_size)
        logits = model.segment(tf.ensure_shape(resized, (None, image_size, image_size, 3)))
        logits = tf.image.resize(logits[:, : filled[0], : filled[1]], size)  # (B, H, W, K)
        return {
            "classes": tf.cast(tf.argmax(logits, axis=-1), tf.uint8),
            "class_names": tf.constant(list(model.class_names)),
        }

    spec = tf.TensorSpec((None, None, None, 3), tf.uint8, name="images")
    signature = tf.function(outputs, input_signature=[spec]).get_concrete_function()
    module = tf.Module()
    module.weights = signature.variables
    tf.saved_model.save(module, str(Path(directory)), signatures={"serving_default": signature})
