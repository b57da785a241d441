"""How a student is kept on disk: WORKDIR/student."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import keras
import keras_hub
import msgspec

import pcd_tf.backbones.vit  # noqa: F401  makes its class known to from_preset
from pcd_tf import digests, records
from pcd_tf.errors import UserError
from pcd_tf.students import _cut
from pcd_tf.students._depthwise import use_depthwise_kernels
from pcd_tf.weights import keras_file, presets

_MODEL = "backbone.keras"  # of what is no KerasHub backbone
_PYRAMID = "pyramid.json"  # beside it, level -> layer, where the user has named the layers
_Level = Annotated[str, msgspec.Meta(pattern=r"^P[0-9]$")]


def save(backbone: keras.Model, directory: str | os.PathLike[str]) -> None:
    """Writes a student's backbone into an existing, empty directory, in float32.

    A KerasHub backbone becomes a preset, any other model `backbone.keras`. Beside them stand the
    digests of their weights.
    """
    folder = Path(directory)
    if isinstance(backbone, keras_hub.models.Backbone):
        backbone.save_to_preset(str(folder))
    else:
        _save_model(backbone, folder)
    digests.write(folder)


def load(directory: str | os.PathLike[str]) -> keras.Model:
    """Loads what `save` wrote, in float32; see `pcd_tf.students.load`."""
    folder = Path(directory)
    if not folder.is_dir():
        raise UserError(f"Expected the directory of a student. Received: {folder}, which is none.")
    with _policy("float32"):
        if (folder / _MODEL).exists():
            backbone = _load_model(folder)
        else:
            backbone = presets.load(folder, dtype="float32")
    use_depthwise_kernels(backbone)
    return backbone


def _save_model(backbone: keras.Model, folder: Path) -> None:
    with in_float32(backbone):
        backbone.save(folder / _MODEL)
    levels = getattr(backbone, "pyramid_outputs", {})
    if levels:
        layers = {level: x._keras_history.operation.name for level, x in levels.items()}
        (folder / _PYRAMID).write_text(json.dumps(layers, indent=2) + "\n")


def _load_model(folder: Path) -> keras.Model:
    digests.check(folder)
    backbone = keras_file.read(folder / _MODEL)
    file = folder / _PYRAMID
    if not file.exists():
        return backbone
    layers = records.read(file, dict[_Level, str], what="a layer for each level of the pyramid")
    try:
        backbone.pyramid_outputs = _cut.named(backbone, layers)
    except UserError as error:
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
