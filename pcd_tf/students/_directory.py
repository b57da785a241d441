"""How a student is kept on disk: WORKDIR/student."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import keras
import keras_hub

import pcd_tf.backbones.vit  # noqa: F401  makes its class known to from_preset
from pcd_tf.errors import UserError
from pcd_tf.students import _cut, _sources
from pcd_tf.students._depthwise import use_depthwise_kernels

_MODEL = "backbone.keras"  # of what is no KerasHub backbone
_PYRAMID = "pyramid.json"  # beside it, level -> layer, where the user has named the layers


def save(backbone: keras.Model, directory: str | os.PathLike[str]) -> None:
    """Writes a student's backbone into an existing, empty directory, in float32.

    A KerasHub backbone becomes a preset, any other model `backbone.keras`.
    """
    folder = Path(directory)
    if isinstance(backbone, keras_hub.models.Backbone):
        backbone.save_to_preset(str(folder))
        return
    with in_float32(backbone):
        backbone.save(folder / _MODEL)
    levels = getattr(backbone, "pyramid_outputs", {})
    if levels:
        layers = {level: x._keras_history.operation.name for level, x in levels.items()}
        (folder / _PYRAMID).write_text(json.dumps(layers, indent=2) + "\n")


def load(directory: str | os.PathLike[str]) -> keras.Model:
    """Loads what `save` wrote, in float32; see `pcd_tf.students.load`."""
    folder = Path(directory)
    with _policy("float32"):
        backbone = _load_model(folder) if (folder / _MODEL).exists() else _load_preset(folder)
    use_depthwise_kernels(backbone)
    return backbone


def _load_preset(folder: Path) -> keras.Model:
    if not folder.is_dir():
        raise UserError(f"Expected the directory of a student. Received: {folder}, which is none.")
    try:
        return keras_hub.models.Backbone.from_preset(str(folder), dtype="float32")
    except (ValueError, KeyError, OSError, TypeError) as error:
        raise UserError(
            f"Expected a KerasHub preset of a backbone, or {_MODEL}. Received: {folder}, which "
            f"does not load ({error}): it is damaged or of another KerasHub; distil again, or copy "
            "it again."
        ) from error


def _load_model(folder: Path) -> keras.Model:
    backbone = _sources.read_file(folder / _MODEL)
    file = folder / _PYRAMID
    if not file.exists():
        return backbone
    try:
        layers = {str(level): str(layer) for level, layer in json.loads(file.read_text()).items()}
        backbone.pyramid_outputs = _cut.named(backbone, layers)
    except (ValueError, AttributeError) as error:
        raise UserError(
            f"Expected {file} to name a layer for each level. Received: what does not fit {_MODEL} "
            f"({error}): copy both again."
        ) from error
    return backbone


@contextlib.contextmanager
def in_float32(network: keras.Model) -> Iterator[None]:
    """Lets a network compute in float32; its variables are that under mixed precision as well."""
    policies = [(layer, layer.dtype_policy) for layer in network._flatten_layers()]
    try:
        for layer, _ in policies:
            layer.dtype_policy = "float32"
        yield
    finally:
        for layer, policy in policies:
            layer.dtype_policy = policy


@contextlib.contextmanager
def _policy(name: str) -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
