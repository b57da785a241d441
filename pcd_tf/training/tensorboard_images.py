"""Pictures of a run in TensorBoard, beside its curves."""

from pathlib import Path

import tensorflow as tf


def show(picture: Path, tensorboard: Path, *, step: int) -> None:
    """Sends a PNG file to TensorBoard, under the file's name.

    Args:
        picture: the file.
        tensorboard: directory of the event files.
        step: that it was drawn at.
    """
    pixels = tf.io.decode_png(tf.io.read_file(str(picture)), channels=3)
    writer = tf.summary.create_file_writer(str(tensorboard))
    with writer.as_default(step=step):
        tf.summary.image(picture.stem, pixels[None])
    writer.close()
