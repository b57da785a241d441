"""Outputs of small teachers in PyTorch, kept in files, so that they are compared without it."""

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent / "teachers" / "golden"


def draw(shapes, seed=0):
    """Draws arrays by PyTorch's names, such that each of them counts: name -> array.

    Every array has a stream of its own, begun by its name, so that none depends on the others.
    """
    return {name: _draw(name, shape, seed) for name, shape in shapes.items()}


def images(shape: tuple[int, ...] = (2, 21, 29, 3)) -> Any:
    """Normalised images of an odd size, where padding shows."""
    return np.random.default_rng(0).uniform(-2, 2, shape).astype("float32")


def save(name, prefix, shapes, outputs):
    """Writes the names and shapes of a network, and what it makes of `images()`.

    Args:
        name: of the golden file.
        prefix: what the names begin with in a checkpoint.
        shapes: PyTorch's names in the network -> shapes.
        outputs: map (B, h, w, C), pooled (B, C) and head (B, D).
    """
    FOLDER.mkdir(exist_ok=True)
    network = json.dumps({"prefix": prefix, "shapes": shapes})
    np.savez_compressed(FOLDER / f"{name}.npz", network=network, **outputs)


def load(name):
    """Returns a checkpoint's arrays by their names in it, and the expected outputs."""
    with np.load(FOLDER / f"{name}.npz") as archive:
        network = json.loads(str(archive["network"]))
        outputs = {key: archive[key] for key in ("map", "pooled", "head")}
    drawn = draw(network["shapes"])
    return {f"{network['prefix']}{key}": array for key, array in drawn.items()}, outputs


def relative_error(received: Any, expected: Any) -> float:
    """The largest difference, relative to the largest absolute value."""
    return float(np.max(np.abs(np.asarray(received) - expected)) / np.max(np.abs(expected)))


def _draw(name, shape, seed):
    random = np.random.default_rng((zlib.crc32(name.encode()), seed))
    kind = name.rpartition(".")[2]
    if kind == "num_batches_tracked":
        return np.full(shape, 7, "int64")
    if kind == "running_var" or (kind == "weight" and len(shape) == 1):
        array = random.uniform(0.5, 1.5, shape)
    elif len(shape) <= 1:
        array = random.uniform(-0.5, 0.5, shape)
    else:  # keeps the size of what goes through
        array = random.uniform(-1, 1, shape) * (6 / np.prod(shape[1:])) ** 0.5
    return array.astype("float32")
