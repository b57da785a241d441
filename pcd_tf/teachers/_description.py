"""What stands in a teacher's `teacher.json`, and how a network is built from it."""

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import keras

from pcd_tf.errors import UserError

NAME = "teacher.json"

_Model = TypeVar("_Model", bound=keras.Model)
_PACKAGE = __name__.partition(".")[0]
_VERSION = 1
_KEYS = ("version", "name", "backbone", "head", "mean", "std", "origin")


def write(folder: Path, description: Mapping[str, Any]) -> None:
    """Writes the description, all keys but the version, into a teacher's folder."""
    content = {"version": _VERSION, **description}
    (folder / NAME).write_text(json.dumps(content, indent=2) + "\n")


def read(folder: Path) -> dict[str, Any]:
    """Reads the description in a teacher's folder.

    Raises:
        UserError: when there is none, or it is cut short, of another version or without a part.
    """
    path = folder / NAME
    if not path.is_file():
        inside = folder / "teacher"
        hint = f" Did you mean {inside}?" if (inside / NAME).is_file() else ""
        raise UserError(
            f"Expected a teacher's directory, as pretrain and convert write it. "
            f"Received: {folder}, which has no {NAME}.{hint}"
        )
    try:
        description: dict[str, Any] = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"Expected JSON. Received: {path} ({error}): write it again.") from error
    version = description.get("version") if isinstance(description, dict) else None
    if version != _VERSION:
        raise UserError(
            f"Expected a teacher of format version {_VERSION}. Received: {path} of version "
            f"{version!r}: read it with the release that wrote it, or write it again."
        )
    if missing := [key for key in _KEYS if key not in description]:
        raise UserError(
            f"Expected {', '.join(_KEYS)}. Received: {path} without {', '.join(missing)}."
        )
    return description


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
    try:
        _import_own_classes(config)
        model = keras.saving.deserialize_keras_object(config)
    except (TypeError, ValueError, KeyError, AttributeError, ImportError) as error:
        raise UserError(
            f"Expected {folder / NAME} to describe a {kind.__name__}. Received: what this "
            f"version of Keras cannot build ({error})."
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
