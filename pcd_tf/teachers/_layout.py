"""Where a teacher's arrays lie in a published checkpoint, and how they get into the teacher."""

import collections
import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy.typing as npt

from pcd_tf import plugins
from pcd_tf.errors import UserError
from pcd_tf.teachers._teacher import Teacher
from pcd_tf.weights import arrays, mlp, torchvision

Array = npt.NDArray[Any]
State = dict[str, Array]

# What training leaves in a file beside the networks: state of optimizer, loss scale and schedule.
_TRAINING = ("optimizer", "optimizers", "scaler", "fp16_scaler", "amp", "scheduler", "lr_scheduler")

# What may stand before the container: Lightning's dict, and the name that a module of it gives to
# the network.
_WRAPPERS = ("", "state_dict.", "model.", "state_dict.model.")


class Naming(Protocol):
    """How a library names a network's arrays: a module of `pcd_tf.weights` is one."""

    FIRST: str  # the first array of every network of the kind, and of no other kind

    def shapes(self, model: keras.Model) -> dict[str, tuple[int, ...]]:
        """Names and shapes of every array that the model needs, as they are in PyTorch."""
        ...

    def to_keras(self, state: Mapping[str, Array], model: keras.Model) -> dict[str, Array]:
        """PyTorch's names -> arrays, to names as `arrays.variables(model)` has them -> arrays.

        Leaves out what a network can do without (counters), and keeps as it is what it does not
        know: so the caller finds it.
        """
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """Where the arrays of one teacher lie in its file, `module.` left out of all names.

    Args:
        container: key of the file's dict that holds the network; "" when the file is that dict.
            A file may also hold the names of the network alone, without it.
        backbone: what the names of the backbone begin with in the container.
        head: what the names of the head begin with there; may itself begin with `backbone`.
        unused: beginnings of names, in the container, of parts that a teacher has no use for.
        beside: keys beside the container of such parts; those of optimizers are known already.
        whole: which published file holds backbone and head, for who has another one.
        backbone_names: how the names of the backbone go on.
        head_names: how the names of the head go on.
    """

    container: str = ""
    backbone: str = ""
    head: str
    unused: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    whole: str = "the one with the head of its pre-training"
    backbone_names: Naming = torchvision
    head_names: Naming = mlp

    def split(self, state: Mapping[str, Array]) -> tuple[State, State]:
        """Returns the arrays of the container, by their names in it, and those beside it."""
        start = self._start(state)
        inside = {
            name.removeprefix(start): a for name, a in state.items() if name.startswith(start)
        }
        if not inside:
            return dict(state), {}
        return inside, {name: a for name, a in state.items() if not name.startswith(start)}

    def _start(self, state: Mapping[str, Array]) -> str:
        """What the names of the network begin with: the container, perhaps in another's wrapper."""
        container = f"{self.container}."
        first = f"{self.backbone}{self.backbone_names.FIRST}"
        starts = [f"{outer}{inner}" for outer in _WRAPPERS for inner in (container, "")]
        return next((start for start in starts if f"{start}{first}" in state), container)

    def recognises(self, state: Mapping[str, Array]) -> bool:
        """Whether the file holds this kind of backbone, and a head, where this teacher's are."""
        inside, _ = self.split(state)
        first = f"{self.backbone}{self.backbone_names.FIRST}"
        return first in inside and any(name.startswith(self.head) for name in inside)


def fill(
    teacher: Teacher, state: Mapping[str, Array], layout: Layout, origin: str | os.PathLike[str]
) -> Teacher:
    """Sets every variable of the teacher from a checkpoint's arrays, and finds use for every array.

    Args:
        teacher: to set; its `origin` becomes what was used of the file and what was not.
        state: what `checkpoint.read(origin)` returns.
        layout: where they lie.
        origin: the file, for errors and for people.

    Returns:
        The same teacher.

    Raises:
        UserError: when arrays are missing, left over, of another shape or not finite; lists them
            by their names in the file. Nothing is set then.
    """
    rest, unused = _set_aside(state, layout)
    parts = {  # the head first: its names may begin with those of the backbone
        "head/": _Part(layout.head, layout.head_names, teacher.head),
        "backbone/": _Part(layout.backbone, layout.backbone_names, teacher.backbone),
    }
    shapes: dict[str, tuple[int, ...]] = {}
    received: State = {}
    taken: dict[str, State] = {}
    for label, part in parts.items():
        taken[label] = part.take(rest)
        shapes |= {f"{part.prefix}{name}": shape for name, shape in part.shapes.items()}
        dispensable = part.dispensable(taken[label])
        unused.update(name.rpartition(".")[2] for name in dispensable)
        received |= {
            f"{part.prefix}{name}": array
            for name, array in taken[label].items()
            if name not in dispensable
        }
    problems = arrays.mismatches(shapes, received | rest)
    if whole := [name for name in received if received[name].dtype.kind != "f"]:
        problems.append(f"no floating point, so perhaps quantised: {', '.join(sorted(whole)[:3])}")
    if problems:
        raise UserError(
            f"{_advice(state, layout)}Expected the {len(shapes)} arrays of {teacher.name}. "
            f"Received: {origin}: {'; '.join(problems)}. Nothing was converted."
        )
    converted = {
        f"{label}{name}": array
        for label, part in parts.items()
        for name, array in part.naming.to_keras(taken[label], part.model).items()
    }
    arrays.assign(teacher.named_weights, converted, origin=str(origin))
    parts_unused = ", ".join(f"{name} ({count})" for name, count in sorted(unused.items()))
    teacher.origin = (
        f"{Path(origin).name}: {len(shapes)} arrays used; not used: {parts_unused or 'none'}"
    )
    return teacher


class _Part:
    """Backbone or head of a teacher, and what is looked for it in the file."""

    def __init__(self, prefix: str, naming: Naming, model: keras.Model) -> None:
        self.prefix = prefix
        self.naming = naming
        self.model = model
        self.shapes = naming.shapes(model)

    def take(self, rest: State) -> State:
        """Moves the arrays under the prefix out of `rest`; returns them without it."""
        names = [name for name in rest if name.startswith(self.prefix)]
        return {name.removeprefix(self.prefix): rest.pop(name) for name in names}

    def dispensable(self, taken: State) -> set[str]:
        """Finds the names that are not needed, yet known to the naming: counters for example."""
        more = {name: array for name, array in taken.items() if name not in self.shapes}
        unknown = self.naming.to_keras(more, self.model).keys() & more.keys()
        return more.keys() - unknown


def _set_aside(state: Mapping[str, Array], layout: Layout) -> tuple[State, collections.Counter]:
    """Returns the arrays without those known to be unused, and how many of which were unused."""
    rest, beside = layout.split(state)
    unused: collections.Counter[str] = collections.Counter()
    for name in list(rest):
        if start := next((start for start in layout.unused if name.startswith(start)), None):
            del rest[name]
            unused[start.rstrip(".")] += 1
    for name, array in beside.items():
        key = name.partition(".")[0]
        if key in (*layout.beside, *_TRAINING) or array.ndim == 0:  # a number: the best score, say
            unused[key] += 1
        else:
            rest[f"{name} (beside {layout.container})"] = array
    return rest, unused


def _advice(state: Mapping[str, Array], layout: Layout) -> str:
    """Says first what to do about a file that is not this teacher's; "" when it seems to be."""
    if layout.recognises(state):
        return ""
    package = __name__.rpartition(".")[0]
    others = [
        name
        for name in plugins.names(package)
        if (other := getattr(plugins.load(package, name), "LAYOUT", None))
        and other.recognises(state)
    ]
    if others:
        return f"It looks like a file of {' or '.join(others)}: convert it as that teacher. "
    inside, _ = layout.split(state)
    if not any(name.startswith(layout.head) for name in inside):
        return f"It has no projection head: the file to fetch is {layout.whole}. "
    return ""
