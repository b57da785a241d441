"""A student as a KerasHub preset: what KerasHub's tasks, and its users, load by `from_preset`."""

import dataclasses
import os
from typing import Any

import keras
import keras_hub
import numpy as np
import numpy.typing as npt

from export._verify import Entrance
from pcd_tf import digests, students
from pcd_tf.errors import UserError
from pcd_tf.students import Student


def is_possible(student: Student) -> bool:
    """Tells whether the student is a backbone that KerasHub has, or can be made one."""
    return _is_keras_hub(student.backbone) or hasattr(student.backbone, "to_keras_hub")


def lacks_pyramid(student: Student) -> bool:
    """Tells whether KerasHub's class of the backbone keeps no feature pyramid, as MobileNet's."""
    return _is_keras_hub(student.backbone) and not hasattr(student.backbone, "pyramid_outputs")


def write(student: Student, directory: str | os.PathLike[str], size: tuple[int, int]) -> None:
    """Writes the backbone, and the image converter that resizes and normalises as the run did.

    Args:
        student: one that is possible.
        directory: for the preset; made when it is not there.
        size: height and width that the converter resizes images to, pixels.

    Raises:
        UserError: when the student is no backbone of KerasHub.
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
    digests.write(directory)


def entrance(student: Student, directory: str | os.PathLike[str]) -> Entrance:
    """Loads what was written, and computes with it what a student gives.

    An image goes through the converter, resized to its own size, then through the backbone; where
    KerasHub has no converter, it is normalised as the student does it.
    """
    backbone = keras_hub.models.Backbone.from_preset(str(directory), dtype="float32")
    made_for = backbone.input_shape[1:3]
    converter = None
    if _converter_class(type(backbone)) is not None:
        converter = keras_hub.layers.ImageConverter.from_preset(str(directory), dtype="float32")
    if len(backbone.output_shape) == 3:
        backbone = _as_map(backbone, student)
    mean, std = ((0.0,) * 3, (1.0,) * 3) if converter else (student.mean, student.std)
    loaded = dataclasses.replace(student, backbone=backbone, mean=mean, std=std)

    def run(images: npt.NDArray[np.uint8]) -> dict[str, Any] | None:
        size = images.shape[1:3]
        if None not in made_for and size != made_for:
            return None
        if converter is None:
            return loaded.outputs(images)
        converter.image_size = size
        return loaded.outputs(converter(images))

    return run


def _of_keras_hub(backbone: keras.Model, size: tuple[int, int]) -> keras_hub.models.Backbone:
    if _is_keras_hub(backbone):
        return backbone
    if hasattr(backbone, "to_keras_hub"):
        return backbone.to_keras_hub(size)
    raise UserError(
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


def _as_map(vit: keras.Model, student: Student) -> keras.Model:
    """Wraps KerasHub's ViT, which gives tokens with the class token first, to give a map."""
    _, height, width, _ = vit.input_shape
    patch_height, patch_width = vit.patch_size
    grid = (height // patch_height, width // patch_width)
    tokens = vit.output[:, 1:]  # (B, 1 + h*w, C) -> (B, h*w, C)
    maps = keras.layers.Reshape((*grid, vit.output_shape[-1]))(tokens)  # (B, h, w, C)
    wrapped = keras.Model(vit.input, maps)
    wrapped.pyramid_outputs = dict.fromkeys(students.pyramid(student.backbone), wrapped.output)
    return wrapped
