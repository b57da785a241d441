"""How a student is kept on disk: WORKDIR/student."""

import os

import keras
import keras_hub


def save(backbone: keras.Model, directory: str | os.PathLike[str]) -> None:
    """Writes a student's backbone into an existing, empty directory."""
    backbone.save_to_preset(str(directory))


def load(directory: str | os.PathLike[str]) -> keras.Model:
    """Loads what `save` wrote, in float32; see `pcd_tf.students.load`."""
    try:
        return keras_hub.models.Backbone.from_preset(str(directory), dtype="float32")
    except (ValueError, KeyError, OSError) as error:
        raise ValueError(
            f"Expected a KerasHub preset of a backbone. Received: {directory}, which does not load "
            f"({error}): it is damaged or of another KerasHub; distil again, or copy it again."
        ) from error
