"""What a teacher is, and how it is kept on disk."""

import hashlib
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import keras
import keras_hub

from pcd_tf import atomic
from pcd_tf.layers import SpatialAdaptor
from pcd_tf.weights import arrays

IMAGENET_MEAN = (123.675, 116.28, 103.53)  # of images in 0..255, RGB
IMAGENET_STD = (58.395, 57.12, 57.375)

_Model = TypeVar("_Model", bound=keras.Model)
_VERSION = 1
_DESCRIPTION = "teacher.json"
_WEIGHTS = "weights.safetensors"
_KEYS = ("version", "name", "backbone", "head", "mean", "std", "origin")


class Teacher:
    """A frozen network that embeds every pixel of a feature map.

    The backbone's map goes through the vector head of the teacher's own pre-training, applied at
    each pixel by SpatialAdaptor. Inference mode always, and no variable is trainable. It is a plain
    object on purpose: as an attribute of a Keras model it is not tracked, so that neither the
    model's weights nor its checkpoints hold it.
    Source: Huang and Guo, "Pixel-Wise Contrastive Distillation", ICCV 2023, arXiv 2211.00218.

    Shapes: B images of H x W pixels; h x w pixels of the last feature map, C channels; D of an
        embedding.

    Args:
        name: which teacher it is; one of `teachers.names()`, for the project's own.
        backbone: normalised images (B, H, W, 3) -> (B, h, w, C). Frozen here.
        head: the vector head (B, C) -> (B, D), of layers that SpatialAdaptor takes. Frozen here.
        mean: per channel, of RGB images in 0..255, that images are normalised with.
        std: likewise, above 0.
        origin: where the weights come from, for people to read.

    Call arguments:
        images: float (B, H, W, 3), normalised by `mean` and `std`.

    Returns:
        float32 (B, h, w, D), not of unit norm. Its mean over the pixels is the head's embedding of
        the map's mean over the pixels.

    Raises:
        ValueError: when head and backbone do not fit, or mean and std are not three numbers each.

    Example:
        teacher = pcd_tf.teachers.build("moco_v3_resnet18")
        teacher(keras.ops.zeros((1, 64, 64, 3))).shape  # (1, 2, 2, 256)
    """

    def __init__(
        self,
        name: str,
        backbone: keras_hub.models.Backbone,
        head: keras.Sequential,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        origin: str = "random initialisation",
    ):
        if backbone.output_shape[-1] != head.input_shape[-1]:
            raise ValueError(
                "Expected a head for the backbone's channels. Received: a backbone with "
                f"{backbone.output_shape[-1]}, a head for {head.input_shape[-1]}."
            )
        self.name = name
        self.backbone = backbone
        self.head = head
        self.mean = _three_numbers("mean", mean)
        self.std = _three_numbers("std", std, above=0.0)
        self.origin = origin
        self.backbone.trainable = False
        self.head.trainable = False
        self._spatial_head = SpatialAdaptor(head)

    def __call__(self, images: keras.KerasTensor) -> keras.KerasTensor:
        feature_map = self.backbone(images, training=False)
        return keras.ops.cast(self._spatial_head(feature_map), "float32")

    @property
    def hidden_units(self) -> int:
        """Width of the head's first hidden layer; the embedding's where the head has one Dense."""
        return self._dense_units()[0]

    @property
    def embedding_dim(self) -> int:
        """D, the channels of an embedding."""
        return self._dense_units()[-1]

    @property
    def weights(self) -> list[keras.Variable]:
        """All variables, the backbone's first."""
        return [*self.backbone.weights, *self.head.weights]

    def save(self, directory: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Writes `teacher.json` and `weights.safetensors`: the whole directory, or nothing of it.

        Raises:
            ValueError: when the directory holds something and `overwrite` is not given.
        """
        description = {
            "version": _VERSION,
            "name": self.name,
            "origin": self.origin,
            "mean": self.mean,
            "std": self.std,
            "backbone": _without_dtype(keras.saving.serialize_keras_object(self.backbone)),
            "head": _without_dtype(keras.saving.serialize_keras_object(self.head)),
        }
        with atomic.directory(directory, overwrite=overwrite) as folder:
            arrays.write(folder / _WEIGHTS, arrays.values(_named(self)))
            (folder / _DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n")

    def fingerprint(self) -> str:
        """Returns the SHA-256 of all weights: the same for equal teachers only."""
        digest = hashlib.sha256()
        for variable in self.weights:
            digest.update(keras.ops.convert_to_numpy(variable).tobytes())
        return digest.hexdigest()

    def _dense_units(self) -> list[int]:
        return [layer.units for layer in self.head.layers if isinstance(layer, keras.layers.Dense)]


def load(directory: str | os.PathLike[str], name: str | None = None) -> Teacher:
    """Loads what `Teacher.save` wrote; see `pcd_tf.teachers.load`."""
    folder = Path(directory)
    description = _read_description(folder)
    if name is not None and description["name"] != name:
        raise ValueError(
            f"Expected the teacher {name}. Received: {folder}, which holds {description['name']}: "
            "ask for that teacher, or name another directory."
        )
    teacher = Teacher(
        name=description["name"],
        backbone=_rebuild(description["backbone"], keras_hub.models.Backbone, folder),
        head=_rebuild(description["head"], keras.Sequential, folder),
        mean=description["mean"],
        std=description["std"],
        origin=description["origin"],
    )
    weights = folder / _WEIGHTS
    arrays.assign(_named(teacher), arrays.read(weights), origin=str(weights))
    return teacher


def _read_description(folder: Path) -> dict[str, Any]:
    path = folder / _DESCRIPTION
    if not path.is_file():
        inside = folder / "teacher"
        hint = f" Did you mean {inside}?" if (inside / _DESCRIPTION).is_file() else ""
        raise ValueError(
            f"Expected a teacher's directory, as the job pretrain writes it. Received: {folder}, "
            f"which has no {_DESCRIPTION}.{hint}"
        )
    try:
        description: dict[str, Any] = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"Expected JSON. Received: {path} ({error}): write it again.") from error
    version = description.get("version") if isinstance(description, dict) else None
    if version != _VERSION:
        raise ValueError(
            f"Expected a teacher of format version {_VERSION}. Received: {path} of version "
            f"{version!r}: read it with the release that wrote it, or write it again."
        )
    if missing := [key for key in _KEYS if key not in description]:
        raise ValueError(
            f"Expected {', '.join(_KEYS)}. Received: {path} without {', '.join(missing)}."
        )
    return description


def _rebuild(config: dict[str, Any], kind: type[_Model], folder: Path) -> _Model:
    """Builds a model from its configuration, under the current dtype policy."""
    try:
        model = keras.saving.deserialize_keras_object(config)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise ValueError(
            f"Expected {folder / _DESCRIPTION} to describe a {kind.__name__}. Received: what this "
            f"version of Keras cannot build ({error})."
        ) from error
    if not isinstance(model, kind):
        raise ValueError(
            f"Expected {folder / _DESCRIPTION} to describe a {kind.__name__}. "
            f"Received: a {type(model).__name__}."
        )
    return model


def _without_dtype(config: Any) -> Any:
    """Leaves out every dtype, so that the current policy decides and not that of the saving run."""
    if isinstance(config, dict):
        return {key: _without_dtype(value) for key, value in config.items() if key != "dtype"}
    if isinstance(config, list | tuple):
        return [_without_dtype(value) for value in config]
    return config


def _named(teacher: Teacher) -> dict[str, keras.Variable]:
    return arrays.variables(teacher.backbone, "backbone/") | arrays.variables(teacher.head, "head/")


def _three_numbers(
    label: str, numbers: Sequence[float], above: float = -math.inf
) -> tuple[float, float, float]:
    if len(numbers) != 3 or not all(above < number < math.inf for number in numbers):
        raise ValueError(
            f"Expected a {label} of three finite numbers above {above}, one for each channel of "
            f"RGB images in 0..255. Received: {label}={tuple(numbers)}."
        )
    red, green, blue = (float(number) for number in numbers)
    return red, green, blue
