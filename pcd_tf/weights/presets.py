"""KerasHub presets, by name or from a directory, which may have been made by anybody."""

import os
from pathlib import Path
from typing import Annotated, Any

import keras_hub
import msgspec

from pcd_tf import digests, records
from pcd_tf.errors import UserError
from pcd_tf.weights import bounds

_CONFIG = "config.json"
_CONVERTER = "image_converter.json"

_Scale = Annotated[float, msgspec.Meta(gt=0)]
_Three = msgspec.Meta(min_length=3, max_length=3)  # of red, green and blue


class _Network(msgspec.Struct):
    """What `config.json` says of a backbone.

    Args:
        class_name: of KerasHub; None in the files of Hugging Face and timm, which it reads as well.
        config: the arguments of the class.
    """

    class_name: str | None = None
    config: dict[str, Any] = {}


class _Normalisation(msgspec.Struct):
    scale: _Scale | Annotated[list[_Scale], _Three] | None = None
    offset: float | Annotated[list[float], _Three] | None = None


class _Converter(msgspec.Struct):
    config: _Normalisation


def load(
    preset: str | os.PathLike[str],
    kind: type[keras_hub.models.Backbone] = keras_hub.models.Backbone,
    **options: Any,
) -> keras_hub.models.Backbone:
    """Loads a backbone from a preset.

    Args:
        preset: a directory; a name out of KerasHub's list, or another address that it knows
            (`hf://...`, `kaggle://...`), which is downloaded.
        kind: the class that the backbone has to be of.
        **options: those of `kind.from_preset`.

    Raises:
        UserError: when there is no such preset, it is damaged, of another kind or larger than its
            files allow, or it does not load.

    Example:
        load("runs/student/student", dtype="float32")
    """
    preset = os.fspath(preset)
    try:
        if Path(preset).is_dir():
            _check(Path(preset), kind, options)
        return kind.from_preset(preset, **options)
    except UserError:
        raise
    except Exception as error:  # of KerasHub, HDF5, Kaggle's client, or the network beneath it
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        remedy = (
            "It has to be whole, and of a KerasHub like this one: copy or write it again."
            if Path(preset).is_dir()
            else "A name is downloaded: that needs the network, and for some an account that has "
            "accepted their terms."
        )
        raise UserError(
            f"Expected a whole KerasHub preset of a {kind.__name__}. Received: {preset}, which "
            f"does not load ({first}). {remedy}"
        ) from error


def _check(folder: Path, kind: type[keras_hub.models.Backbone], options: dict[str, Any]) -> None:
    """Refuses what is damaged, of another kind, or takes more memory than its size allows."""
    digests.check(folder)
    network = records.read(folder / _CONFIG, _Network, what=f"the {_CONFIG} of a KerasHub preset")
    found = network.class_name
    if kind is not keras_hub.models.Backbone and found not in (kind.__name__, None):
        raise UserError(
            f"Expected a preset of a {kind.__name__}. Received: {folder}, of a {found}."
        )
    if (folder / _CONVERTER).is_file():
        what = "an image converter with `scale` and `offset`, a number or three each"
        records.read(folder / _CONVERTER, _Converter, what=what)
    for file in folder.glob("*.h5"):
        bounds.check_h5(file)
    bounds.check_network(
        lambda: kind.from_preset(str(folder), load_weights=False, **options), folder
    )
