"""A student as a KerasHub preset: what KerasHub's tasks, and its users, load by `from_preset`."""

import os
from typing import Any

import keras
import keras_hub

from pcd_tf.students import Student


def is_possible(student: Student) -> bool:
    """Tells whether the student is a backbone that KerasHub has, or can be made one."""
    return _is_keras_hub(student.backbone) or hasattr(student.backbone, "to_keras_hub")


def write(student: Student, directory: str | os.PathLike[str], size: tuple[int, int]) -> None:
    """Writes the backbone, and the image converter that resizes and normalises as the run did.

    Args:
        student: one that is possible.
        directory: for the preset; made when it is not there.
        size: height and width that the converter resizes images to, pixels.

    Raises:
        ValueError: when the student is no backbone of KerasHub.
    """
    backbone = _of_keras_hub(student.backbone, size)
    backbone.save_to_preset(str(directory))
    converter_class = _converter_class(type(backbone))
    if converter_class is not None:
        converter = converter_class(
            image_size=size,
            scale=[1 / std for std in student.std],
            offset=[-mean / std for mean, std in zip(student.mean, student.std, strict=True)],
            antialias=True,
            dtype="float32",
        )
        converter.save_to_preset(str(directory))


def _of_keras_hub(backbone: keras.Model, size: tuple[int, int]) -> keras_hub.models.Backbone:
    if _is_keras_hub(backbone):
        return backbone
    if hasattr(backbone, "to_keras_hub"):
        return backbone.to_keras_hub(size)
    raise ValueError(
        "Expected a student that is a backbone of KerasHub, for a preset of it. "
        f"Received: {backbone.name}, a {type(backbone).__name__} of its own. "
        "Choose another --format, or keras.saving.load_model(WORKDIR/student/backbone.keras)."
    )


def _is_keras_hub(backbone: keras.Model) -> bool:
    return type(backbone).__module__.startswith("keras_hub.")


def _converter_class(backbone_class: type) -> Any:
    """Finds KerasHub's image converter for a class of backbones; None when it has none."""
    for found in vars(keras_hub.layers).values():
        if isinstance(found, type) and getattr(found, "backbone_cls", None) is backbone_class:
            return found
    return None
