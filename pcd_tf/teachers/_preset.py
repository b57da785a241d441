"""Backbones and normalisations out of KerasHub presets, for teachers without a projection head."""

import os
from collections.abc import Callable
from pathlib import Path

import keras
import keras_hub

from pcd_tf import normalisation
from pcd_tf.errors import UserError
from pcd_tf.teachers import _head
from pcd_tf.teachers._teacher import Teacher
from pcd_tf.weights import presets


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
    if preset not in kind.presets and "://" not in preset and not Path(preset).is_dir():
        raise UserError(
            "Expected a preset directory, or a KerasHub preset out of "
            f"{', '.join(sorted(kind.presets))}. Received: {preset}, which is neither."
        )
    backbone = presets.load(preset, kind)
    mean, std, source = normalisation.of_preset(preset)
    return Teacher(
        name=name,
        backbone=convert(backbone),
        head=_head.none(backbone.hidden_dim),
        mean=mean,
        std=std,
        origin=f"KerasHub preset {preset}; normalisation {source}",
    )
