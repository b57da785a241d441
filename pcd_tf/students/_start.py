"""Weights that a student starts from: another student's, a Keras model's, a PyTorch ResNet's."""

import os
from collections.abc import Mapping
from pathlib import Path

import keras
import keras_hub
import numpy as np
import numpy.typing as npt

from pcd_tf import digests
from pcd_tf.errors import UserError
from pcd_tf.students import _cut, _directory
from pcd_tf.weights import arrays, bounds, checkpoint, keras_file, torchvision

Array = npt.NDArray[np.generic]

_FIRST = "conv1.weight"  # torchvision's name of a ResNet's first array
_CLASSIFIER = "fc."


def initialise(backbone: keras.Model, path: str | os.PathLike[str]) -> str:
    """Sets all weights of a student; see `pcd_tf.students.initialise`."""
    source = Path(path).expanduser()
    if source.name.endswith(".weights.h5"):
        _load_h5(backbone, source)
    elif source.is_dir():
        folder = source / "student" if (source / "student").is_dir() else source
        _copy(_directory.load(folder), backbone, folder)
    elif source.suffix == ".keras":
        _copy(_cut.backbone(keras_file.read(source)), backbone, source)
    else:
        named = arrays.variables(backbone)
        arrays.assign(named, _from_torchvision(backbone, source), origin=str(source))
    return digests.of_variables(backbone.weights)


def _copy(start: keras.Model, backbone: keras.Model, source: Path) -> None:
    """By name; by place where the names differ, as those that Keras numbers itself do."""
    to, values = arrays.variables(backbone), arrays.values(arrays.variables(start))
    same_places = [(name.rpartition("/")[2], tuple(x.shape)) for name, x in to.items()] == [
        (name.rpartition("/")[2], x.shape) for name, x in values.items()
    ]
    if to.keys() != values.keys() and same_places:
        values = dict(zip(to, values.values(), strict=True))
    arrays.assign(to, values, origin=str(source))


def _from_torchvision(backbone: keras.Model, source: Path) -> dict[str, Array]:
    state = checkpoint.read(source)
    if not isinstance(backbone, keras_hub.models.ResNetBackbone):
        raise UserError(
            "Expected a student that is a ResNet, for a checkpoint in torchvision's layout. "
            f"Received: {source} for {backbone.name}: start from a student's directory, a .keras "
            "or a .weights.h5 file."
        )
    prefix = _prefix(state, source)
    inner = {name.removeprefix(prefix): x for name, x in state.items() if name.startswith(prefix)}
    inner = {name: x for name, x in inner.items() if not name.startswith(_CLASSIFIER)}
    return torchvision.to_keras(inner, backbone)


def _prefix(state: Mapping[str, Array], source: Path) -> str:
    """What stands before the names of the one ResNet in a file; the rest of it is not looked at."""
    found = sorted(
        name.removesuffix(_FIRST) for name in state if name == _FIRST or name.endswith(f".{_FIRST}")
    )
    found = [x for x in found if f"{x}layer1.0.{_FIRST}" in state]
    if len(found) != 1:
        what = " and ".join(repr(x) for x in found) or "none"
        raise UserError(
            f"Expected a file with one ResNet in torchvision's names, {_FIRST} and so on, after "
            f"one prefix. Received: {source} with {what}, its first names "
            f"{', '.join(list(state)[:5])}: save the state_dict() of the backbone alone."
        )
    return found[0]


def _load_h5(backbone: keras.Model, source: Path) -> None:
    """Keras's own format; it loads name by name, so what it has set is put back on a failure."""
    before = [keras.ops.convert_to_numpy(variable) for variable in backbone.weights]
    try:
        bounds.check_h5(source)
        backbone.load_weights(source)
    except UserError:
        raise
    except Exception as error:  # a damaged file can end in nearly any of them
        for variable, value in zip(backbone.weights, before, strict=True):
            variable.assign(value)
        first = str(error).strip().partition("\n")[0][:300]
        raise UserError(
            f"Expected the weights of {backbone.name}, as Keras saved them. Received: {source}, "
            f"which does not load ({type(error).__name__}: {first}). Nothing was loaded."
        ) from error
