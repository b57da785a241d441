"""Teachers: frozen backbones with the projection head of their pre-training, one file each."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pcd_tf import plugins
from pcd_tf.errors import UserError

if TYPE_CHECKING:
    from pcd_tf.teachers._teacher import Teacher as Teacher


def names(prefix: str = "") -> tuple[str, ...]:
    """Lists the teachers: the choices of `--teacher`.

    Args:
        prefix: only those that begin so; a name is METHOD_NETWORK.
    """
    return tuple(name for name in plugins.names(__name__) if name.startswith(prefix))


def build(name: str) -> "Teacher":
    """Builds a randomly initialised teacher, to pre-train or to set weights in.

    Args:
        name: one of `names()`.

    Raises:
        UserError: when there is no such teacher, naming the choices and the nearest, or when its
            network is only known with its file.
    """
    module = plugins.load(__name__, name)
    if not hasattr(module, "build"):
        raise UserError(
            f"Expected a teacher whose network is known without its file. Received: {name!r}: read "
            "it from its file by `teachers.convert`, or main.py convert."
        )
    teacher: Teacher = module.build()
    return teacher


def convert(name: str, path: str | os.PathLike[str], **options: Any) -> "Teacher":
    """Builds a teacher with the weights of a published checkpoint.

    It is built under the caller's strategy scope and global dtype policy.

    Args:
        name: one of `names()`, the teacher that the file holds.
        path: the file: `.pth`, `.pth.tar`, `.pt`, `.ckpt`, `.bin` (these need PyTorch; no code in
            them is run), `.safetensors` or `.npz`. For some teachers a preset or a directory: see
            their modules.
        **options: what else this teacher needs to know; see its `from_checkpoint`.

    Raises:
        UserError: when the file cannot be read, holds what would run code or asks for more memory
            than its size allows, or is not this teacher's; says what is missing, what is left over,
            and both shapes of what does not fit.

    Example:
        teacher = convert("moco_v3_resnet50", "r-50-1000ep.pth.tar")
        teacher.save("runs/moco/teacher")
    """
    teacher: Teacher = plugins.load(__name__, name).from_checkpoint(path, **options)
    return teacher


def is_saved(path: str | os.PathLike[str]) -> bool:
    """Says whether a path is a directory that `load` reads, and no checkpoint to convert."""
    return (Path(path) / "teacher.json").is_file()


def load(directory: str | os.PathLike[str], name: str | None = None) -> "Teacher":
    """Loads a teacher from the directory that `Teacher.save`, so `pretrain` or `convert`, wrote.

    It is built under the caller's strategy scope and global dtype policy, whatever those were when
    it was saved. Its variables are float32 under a mixed policy too. A teacher made of a SavedModel
    holds that program: load such a directory only from those that you trust.

    Args:
        directory: holds `teacher.json` and `weights.safetensors`, and in `SHA256SUMS` the digest
            of the weights, which they are compared with; without that file they are not.
        name: the teacher it has to be; None takes any.

    Raises:
        UserError: when the directory is not a whole teacher, or holds another one; says what is
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
