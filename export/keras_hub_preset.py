"""KerasHub preset: to fine-tune the student with KerasHub's classifiers, detectors and segmenters.

    backbone = keras_hub.models.Backbone.from_preset(out)  # takes normalised images
    classifier = keras_hub.models.ImageClassifier.from_preset(out, num_classes=5)  # takes raw ones
    converter = keras_hub.layers.ImageConverter.from_preset(out)  # resizes and normalises

The normalisation of the run is in the preset, so a task that is loaded from it takes RGB images in
0..255. A detector:

    detector = keras_hub.models.RetinaNetObjectDetector(
        backbone=keras_hub.models.RetinaNetBackbone(
            image_encoder=backbone, min_level=3, max_level=7, use_p5=False
        ),
        num_classes=20,
        bounding_box_format="xyxy",
        preprocessor=keras_hub.models.RetinaNetObjectDetectorPreprocessor(
            image_converter=keras_hub.layers.RetinaNetImageConverter(
                image_size=(512, 512), scale=converter.scale, offset=converter.offset
            )
        ),
    )

A ViT becomes KerasHub's own, which is made for one size of images (`--image_size`) and gives
tokens, the class token first, without a pyramid.
"""

import dataclasses
from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
import numpy.typing as npt

from export import _preset
from export._order import Order
from export._verify import Entrance
from pcd_tf import students
from pcd_tf.students import Student


def write(order: Order, directory: Path) -> None:
    """Writes the preset.

    Raises:
        ValueError: when the student is no backbone of KerasHub.
    """
    _preset.write(order.student, directory, order.size_or_run)


def entrances(order: Order, directory: Path) -> dict[str, Entrance]:
    """Loads the backbone and the image converter, and computes what a student gives."""
    backbone = keras_hub.models.Backbone.from_preset(str(directory), dtype="float32")
    converter = keras_hub.layers.ImageConverter.from_preset(str(directory), dtype="float32")
    made_for = backbone.input_shape[1:3]
    if len(backbone.output_shape) == 3:
        backbone = _as_map(backbone, order.student)
    student = dataclasses.replace(order.student, backbone=backbone, mean=(0,) * 3, std=(1,) * 3)

    def run(images: npt.NDArray[np.uint8]) -> dict[str, Any] | None:
        size = images.shape[1:3]
        if None not in made_for and size != made_for:
            return None
        converter.image_size = size
        return student.outputs(converter(images))

    return {"from_preset": run}


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
