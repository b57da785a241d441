"""The student as one Keras model from raw images to every output, for Keras's own exporters."""

import os
from typing import Any

import keras

from export._order import Order


def write(
    order: Order, path: str | os.PathLike[str], format_name: str, *, dtype: str, **settings: Any
) -> None:
    """Writes a model: `images`, (B, H, W, 3) in 0..255 -> the outputs of a student by name.

    Args:
        order: the student, and the shape of its images.
        path: the file to write.
        format_name: of those of `keras.Model.export`.
        dtype: number type of the images.
        settings: of that format.
    """
    images = keras.Input(batch_shape=order.input_shape, dtype=dtype, name="images")
    network = keras.Model(images, order.student.outputs(images), name="student")
    # Keras would leave the number of images free whatever the input says.
    signature = [keras.InputSpec(dtype=dtype, shape=order.input_shape, name="images")]
    network.export(
        str(path), format=format_name, verbose=False, input_signature=signature, **settings
    )
