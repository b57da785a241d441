"""Named arrays: to a file, from a file, into Keras variables, none missing, none left over."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from pcd_tf.errors import UserError

Array = npt.NDArray[Any]

_NUM_LISTED = 10  # how many names of a kind an error lists before it only counts


def write(path: str | os.PathLike[str], arrays: Mapping[str, Array]) -> None:
    """Writes named arrays as one safetensors file.

    Args:
        path: the file; its folder has to exist.
        arrays: names -> arrays.

    Example:
        write("weights.safetensors", {"backbone/conv1_conv/kernel": np.zeros((7, 7, 3, 64))})
    """
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    # Not `save_file`, whose files nobody but their owner may read.
    Path(path).write_bytes(safetensors.numpy.save(contiguous))


def read(path: str | os.PathLike[str]) -> dict[str, Array]:
    """Reads all arrays of a safetensors file, by name.

    Raises:
        UserError: when the file is missing, cut short, or of another format.
    """
    if not Path(path).is_file():
        raise UserError(f"Expected a file of weights. Received: {path}, which does not exist.")
    try:
        return safetensors.numpy.load_file(path)
    except Exception as error:  # a type that NumPy lacks is no SafetensorError
        raise UserError(
            f"Expected a whole safetensors file. Received: {path}, {Path(path).stat().st_size} "
            f"bytes ({error}). It was cut short or is of another format: copy or write it again."
        ) from error


def variables(model: keras.Model, prefix: str = "") -> dict[str, keras.Variable]:
    """Names a model's variables `<layer>/<variable>`, in the model's order.

    The names are those of the layers themselves, not of what they are built in, so they are the
    same in every process that builds the model alike. A layer made of layers names each variable
    by the way to it: `vit_encoder/transformer_block_1/mlp/dense_1/kernel`.

    Raises:
        UserError: when two variables would share a name.

    Example:
        variables(backbone, "backbone/")["backbone/conv1_conv/kernel"]
    """
    named: dict[str, keras.Variable] = {}
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            found = variables(layer, f"{prefix}{layer.name}/")
        else:
            found = {f"{prefix}{layer.name}/{_inside(layer, w)}": w for w in layer.weights}
            if len(found) != len(layer.weights):
                raise UserError(
                    "Expected a layer whose variables have names of their own. Received: "
                    f"{layer.name} with {', '.join(weight.path for weight in layer.weights)}."
                )
        shared = named.keys() & found.keys()
        if shared:
            raise UserError(
                f"Expected layers with names of their own. Received more than one {_some(shared)} "
                f"in {model.name}: give each layer its name."
            )
        named.update(found)
    return named


def values(named: Mapping[str, keras.Variable]) -> dict[str, Array]:
    """Copies variables into arrays of the same names."""
    return {name: np.array(variable.numpy()) for name, variable in named.items()}


def assign(named: Mapping[str, keras.Variable], arrays: Mapping[str, Array], origin: str) -> None:
    """Sets variables to the arrays of their names; all of them, or none where anything is amiss.

    Args:
        named: names -> variables to set.
        arrays: names -> values, for exactly these names, in the variables' shapes.
        origin: where the arrays come from, for errors.

    Raises:
        UserError: when arrays are missing, left over, of another shape or not finite; says which.
    """
    shapes = {name: tuple(variable.shape) for name, variable in named.items()}
    if problems := mismatches(shapes, arrays):
        raise UserError(
            f"Expected the {len(named)} arrays of this model. Received: {origin} with "
            f"{len(arrays)} arrays; {'; '.join(problems)}. Nothing was loaded."
        )
    for name, variable in named.items():
        variable.assign(arrays[name])


def mismatches(shapes: Mapping[str, tuple[int, ...]], arrays: Mapping[str, Array]) -> list[str]:
    """Says in what arrays differ from names -> shapes: one text for each kind of difference."""
    problems = []
    if missing := shapes.keys() - arrays.keys():
        problems.append(f"missing: {_some(missing)}")
    if left_over := arrays.keys() - shapes.keys():
        problems.append(f"left over: {_some(left_over)}")
    both = [name for name in shapes if name in arrays]
    misfits = [
        f"{name} (expected {shapes[name]}, received {arrays[name].shape})"
        for name in both
        if shapes[name] != arrays[name].shape
    ]
    if misfits:
        problems.append(f"of another shape: {_some(misfits)}")
    if broken := [name for name in both if not np.all(np.isfinite(arrays[name]))]:
        problems.append(f"not finite: {_some(broken)}")
    return problems


def _inside(layer: keras.layers.Layer, variable: keras.Variable) -> str:
    """Returns the way from a layer to its variable; its bare name when it is built elsewhere."""
    start = f"{layer.path}/"
    path: str = variable.path
    return path.removeprefix(start) if path.startswith(start) else variable.name


def _some(names: Iterable[str]) -> str:
    """Lists names, sorted, up to ten of them."""
    ordered = sorted(names)
    more = len(ordered) - _NUM_LISTED
    return ", ".join(ordered[:_NUM_LISTED]) + (f" and {more} more" if more > 0 else "")
