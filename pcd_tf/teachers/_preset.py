"""Backbones and normalisations out of KerasHub presets, for teachers without a projection head."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import keras
import keras_hub

from pcd_tf import normalisation
from pcd_tf.errors import UserError
from pcd_tf.teachers import _head
from pcd_tf.teachers._teacher import Teacher

_CONFIG = "config.json"


def teacher(
    name: str,
    preset: str | os.PathLike[str],
    kind: type[keras_hub.models.Backbone],
    convert: Callable[[keras_hub.models.Backbone], keras.Model],
) -> Teacher:
    """Builds a teacher from a preset: its backbone as a map, no head, its normalisation.

    Args:
        name: of the teacher.
        preset: a name out of KerasHub's list, which is downloaded, another address that KerasHub
            knows (`hf://...`, `kaggle://...`), or a local preset directory.
        kind: the class that its backbone has to be of.
        convert: turns that backbone into a model with a map.

    Raises:
        UserError: when there is no such preset, it is of another kind, or it does not load.
    """
    preset = os.fspath(preset)
    _check(preset, kind)
    try:
        backbone = kind.from_preset(preset)
        mean, std, source = normalisation.of_preset(preset)
    except Exception as error:  # of KerasHub, HDF5, Kaggle's client, or the network beneath it
        raise UserError(
            f"Expected a whole KerasHub preset of a {kind.__name__}. Received: {preset}, which "
            f"does not load ({_first_line(error)}). A name is downloaded: that needs the network, "
            "and for some an account that has accepted their terms. A directory has to be whole."
        ) from error
    return Teacher(
        name=name,
        backbone=convert(backbone),
        head=_head.none(backbone.hidden_dim),
        mean=mean,
        std=std,
        origin=f"KerasHub preset {preset}; normalisation {source}",
    )


def _check(preset: str, kind: type[keras_hub.models.Backbone]) -> None:
    """Refuses what is no preset of this kind, as far as it shows without the network."""
    if preset in kind.presets or "://" in preset:
        return
    if not Path(preset).is_dir():
        raise UserError(
            "Expected a preset directory, or a KerasHub preset out of "
            f"{', '.join(sorted(kind.presets))}. Received: {preset}, which is neither."
        )
    path = Path(preset) / _CONFIG
    if not path.is_file():
        raise UserError(
            f"Expected a KerasHub preset directory, as `save_to_preset` writes it. "
            f"Received: {preset}, which has no {_CONFIG}."
        )
    try:
        found = json.loads(path.read_text()).get("class_name")
    except (ValueError, AttributeError) as error:
        raise UserError(
            f"Expected the {_CONFIG} of a KerasHub preset. Received: {path}, which is none "
            f"({type(error).__name__}: {_first_line(error)})."
        ) from error
    if found not in (
        kind.__name__,
        None,
    ):  # None in those of Hugging Face, which KerasHub reads too
        raise UserError(
            f"Expected a preset of a {kind.__name__}. Received: {preset}, of a {found}."
        )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
