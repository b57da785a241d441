"""Teachers: frozen backbones with the projection head of their pre-training, one file each."""

import os
from typing import TYPE_CHECKING, Any

from pcd_tf import plugins

if TYPE_CHECKING:
    from pcd_tf.teachers._teacher import Teacher as Teacher


def names() -> tuple[str, ...]:
    """Lists the teachers: the choices of `--teacher`."""
    return plugins.names(__name__)


def build(name: str) -> "Teacher":
    """Builds a randomly initialised teacher, to pre-train or to set weights in.

    Args:
        name: one of `names()`.

    Raises:
        ValueError: when there is no such teacher; names the choices and the nearest.
    """
    teacher: Teacher = plugins.load(__name__, name).build()
    return teacher


def load(directory: str | os.PathLike[str], name: str | None = None) -> "Teacher":
    """Loads a teacher from the directory that `Teacher.save`, so the job `pretrain`, wrote.

    It is built under the caller's strategy scope and global dtype policy, whatever those were when
    it was saved. Its variables are float32 under a mixed policy too.

    Args:
        directory: holds `teacher.json` and `weights.safetensors`.
        name: the teacher it has to be; None takes any.

    Raises:
        ValueError: when the directory is not a whole teacher, or holds another one; says what is
            missing, what is left over, and both shapes of what does not fit.

    Example:
        teacher = load("runs/pretrain/teacher")
        embedding = teacher((images - teacher.mean) / teacher.std)  # (B, h, w, D)
    """
    from pcd_tf.teachers import _teacher

    return _teacher.load(directory, name)


def __getattr__(name: str) -> Any:
    """Loads the class on its first use (PEP 562): this package itself is loaded without Keras."""
    if name == "Teacher":
        from pcd_tf.teachers._teacher import Teacher

        return Teacher
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
