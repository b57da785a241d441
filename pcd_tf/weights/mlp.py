"""Vector heads between the names of a PyTorch Sequential and those of a Keras Sequential."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

FIRST = "0.weight"  # the first array of every head

_NAMES = {
    "kernel": "weight",  # of Linear (out, in), Dense (in, out)
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
_COUNTER = "num_batches_tracked"  # PyTorch's count of training steps; inference has no use for it


def shapes(head: keras.Sequential) -> dict[str, tuple[int, ...]]:
    """Lists the arrays that the head needs: `<index>.weight` and so on -> shapes in PyTorch.

    The index is that of the layer in the Sequential, activations counted, here as there.
    """
    return {name: tuple(variable.shape[::-1]) for name, (_, variable) in _named(head).items()}


def to_keras(state: Mapping[str, Array], head: keras.Sequential) -> dict[str, Array]:
    """Gives the arrays of a PyTorch Sequential the names and layouts of the head's variables.

    The counters of BatchNorm are left out. Every other name that is none of the head's is kept as
    it is, and missing ones stay missing, so that `arrays.assign` finds both.

    Args:
        state: `0.weight`, `1.running_mean` and so on -> arrays.
        head: Dense, BatchNormalization and activations, each a layer of its own.

    Returns:
        names as `arrays.variables(head)` has them -> arrays.
    """
    named = _named(head)
    converted = {}
    for name, array in state.items():
        if name in named:
            converted[named[name][0]] = np.transpose(array)
        elif not name.endswith(f".{_COUNTER}"):
            converted[name] = array
    return converted


def _named(head: keras.Sequential) -> dict[str, tuple[str, keras.Variable]]:
    """PyTorch's names -> name and variable of the head, in the head's order."""
    named = {}
    for index, layer in enumerate(head.layers):
        for variable in layer.weights:
            name = f"{index}.{_NAMES.get(variable.name, variable.name)}"
            named[name] = (f"{layer.name}/{variable.name}", variable)
    return named
