"""A segmenter as a SavedModel: images in, the class of each pixel out; loads without Keras.

    segment = tf.saved_model.load(directory).signatures["serving_default"]
    segment(images=images)["classes"]  # uint8 (B, H, W), an index into `class_names`

`images` are uint8 (B, H, W, 3), of any size. They are put into the letterbox that the segmenter was
trained and evaluated in; the logits are brought back to the images' own size.
"""

import os
from pathlib import Path

import tensorflow as tf

from pcd_tf import data
from pcd_tf.segmenters._segmenter import Segmenter


def write(model: Segmenter, directory: str | os.PathLike[str], *, image_size: int) -> None:
    """Writes the SavedModel; see `pcd_tf.segmenters.export`."""

    def outputs(images: tf.Tensor) -> dict[str, tf.Tensor]:
        size = tf.shape(images)[1:3]  # [2]
        filled = data.fitted(size, image_size)  # [2]
        logits = model.segment(data.letterbox(images, image_size))  # [B, S, S, K]
        logits = tf.image.resize(logits[:, : filled[0], : filled[1]], size)  # [B, H, W, K]
        return {
            "classes": tf.cast(tf.argmax(logits, axis=-1), tf.uint8),
            "class_names": tf.constant(list(model.class_names)),
        }

    spec = tf.TensorSpec((None, None, None, 3), tf.uint8, name="images")
    signature = tf.function(outputs, input_signature=[spec]).get_concrete_function()
    module = tf.Module()
    module.weights = signature.variables
    tf.saved_model.save(module, str(Path(directory)), signatures={"serving_default": signature})
