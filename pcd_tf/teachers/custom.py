"""A teacher of your own: a `.keras` file or a SavedModel.

Its output is the map, or layers of it are named: the map, and the vector head behind its mean.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import keras

from pcd_tf.errors import UserError
from pcd_tf.normalisation import IMAGENET_MEAN, IMAGENET_STD
from pcd_tf.teachers import _cut, _head
from pcd_tf.teachers._saved_model import SavedModel, is_saved_model
from pcd_tf.teachers._teacher import Teacher
from pcd_tf.weights import keras_file

_AS_IT_IS = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))  # for networks with normalisation inside


def from_checkpoint(
    path: str | os.PathLike[str],
    *,
    feature_map: str | None = None,
    head: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Teacher:
    """Makes a teacher of any model that computes a map.

    A `.keras` file is loaded in Keras's safe mode: one that holds code of its own (a Lambda layer)
    is refused. A SavedModel is a program, as TensorFlow says: load only those that you trust.

    Args:
        path: a `.keras` file, or the directory of a SavedModel.
        feature_map: the layer, or the output of the SavedModel, that is the map; None when the
            model's output is, or the head tells.
        head: the layer that is the vector head, or where it begins; see `_cut.cut`. None for none:
            the map is the embedding.
        mean: of RGB images in 0..255, which the model wants normalised; None for ImageNet's, or
            none at all for a SavedModel that takes integers. 0, 0, 0 where the model does it.
        std: likewise; 1, 1, 1.

    Raises:
        UserError: when the file cannot be loaded, or gives no map; says which names there are.

    Example:
        from_checkpoint("encoder.keras", head="projection", mean=(0, 0, 0), std=(1, 1, 1))
    """
    path = Path(path)
    integers = False
    if is_saved_model(path):
        if head is not None:
            raise UserError(
                f"Expected no --teacher_head for a SavedModel, which has no layers. "
                f"Received: {head!r}, {path}: save the model as .keras to use its head."
            )
        backbone = SavedModel(path, feature_map, name="backbone")
        vector_head = _head.none(backbone.output_shape[-1])
        integers = backbone.takes_integers
    else:
        backbone, vector_head = _cut.cut(_load(path), feature_map, head)
    default_mean, default_std = _AS_IT_IS if integers else (IMAGENET_MEAN, IMAGENET_STD)
    teacher = Teacher(
        name="custom",
        backbone=backbone,
        head=vector_head,
        mean=default_mean if mean is None else mean,
        std=default_std if std is None else std,
        origin=_origin(path, feature_map, head),
    )
    if unnamed := len(teacher.weights) - len(teacher.named_weights):
        raise UserError(
            f"Expected a model whose weights all belong to layers that Keras lists. Received: "
            f"{path}, where {unnamed} do not: rebuild it as a functional model."
        )
    return teacher


def _load(path: Path) -> keras.Model:
    if not path.is_file():
        what = "is no directory of a SavedModel" if path.is_dir() else "does not exist"
        raise UserError(
            f"Expected a .keras file, or the directory of a SavedModel. Received: {path}, which "
            f"{what}."
        )
    return keras_file.read(path)


def _origin(path: Path, feature_map: str | None, head: str | None) -> str:
    named = {"map": feature_map, "head": head}
    parts = [f"{part} {name}" for part, name in named.items() if name]
    return ", ".join([path.name, *parts])
