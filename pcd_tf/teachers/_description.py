"""What stands in a teacher's `teacher.json`, and how a network is built from it."""

import copy
import importlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import keras
import msgspec

from pcd_tf import records
from pcd_tf.errors import UserError
from pcd_tf.weights import bounds

NAME = "teacher.json"

_Model = TypeVar("_Model", bound=keras.Model)
_NumLayers = Annotated[int, msgspec.Meta(ge=1, le=10)]  # of a head; published ones have 2 or 3
_PACKAGE = __name__.partition(".")[0]


class Description(msgspec.Struct, kw_only=True):
    """All of a teacher but its weights; `backbone` and `head` are what `of_model` gives."""

    version: Literal[1]
    name: str
    origin: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    student_layers: _NumLayers | None = None  # newer than the format
    backbone: dict[str, Any]
    head: dict[str, Any]


def write(folder: Path, description: Description) -> None:
    """Writes the description into a teacher's folder."""
    content = msgspec.to_builtins(description)
    (folder / NAME).write_text(json.dumps(content, indent=2) + "\n")


def read(folder: Path) -> Description:
    """Reads the description in a teacher's folder.

    Raises:
        UserError: when there is none, or it is damaged, of another version or without a part.
    """
    what = "a teacher that pretrain or convert wrote, of format version 1"
    try:
        return records.read(folder / NAME, Description, what=what)
    except UserError as error:
        inside = folder / "teacher"
        if (inside / NAME).is_file():
            raise UserError(f"{error} Did you mean {inside}?") from error
        raise


def of_model(model: keras.Model) -> dict[str, Any]:
    """Describes a network without its weights, and without the dtype policy of this run."""
    config: dict[str, Any] = _without_dtype(keras.saving.serialize_keras_object(model))
    return config


def rebuild(config: dict[str, Any], kind: type[_Model], folder: Path) -> _Model:
    """Builds a model from what `of_model` made of it, under the current dtype policy.

    Args:
        config: of the model.
        kind: class that the model has to be of.
        folder: that of the teacher, for errors.

    Raises:
        UserError: when Keras cannot build it, or it is of another class.
    """

    def build() -> Any:
        # Of a copy, as Keras takes out of a configuration what it has read; without the optimizer.
        return keras.saving.deserialize_keras_object(
            copy.deepcopy({**config, "compile_config": None})
        )

    try:
        _import_own_classes(config)
        bounds.check_network(build, folder)
        model = build()
    except UserError:
        raise
    except Exception as error:  # what a configuration can bring about is up to each class
        first = str(error).strip().partition("\n")[0][:300]
        raise UserError(
            f"Expected {folder / NAME} to describe a {kind.__name__}. Received: what this "
            f"version of Keras cannot build ({type(error).__name__}: {first})."
        ) from error
    if not isinstance(model, kind):
        raise UserError(
            f"Expected {folder / NAME} to describe a {kind.__name__}. "
            f"Received: a {type(model).__name__}."
        )
    return model


def _import_own_classes(config: Any) -> None:
    """Imports every module of this project that a configuration names, so that Keras knows it."""
    if isinstance(config, dict):
        module = str(config.get("module"))
        if module.startswith(f"{_PACKAGE}."):
            importlib.import_module(module)
        config = list(config.values())
    if isinstance(config, list):
        for part in config:
            _import_own_classes(part)


def _without_dtype(config: Any) -> Any:
    """Leaves out every layer's policy, so that the current one decides, not the saving run's.

    A dtype that is a plain text stays: it is of an input, a tensor, or an operation that casts.
    """
    if isinstance(config, dict):
        kept = {k: x for k, x in config.items() if k != "dtype" or isinstance(x, str)}
        return {key: _without_dtype(value) for key, value in kept.items()}
    if isinstance(config, list | tuple):
        return [_without_dtype(value) for value in config]
    return config
