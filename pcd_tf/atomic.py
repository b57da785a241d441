"""Directories and files that appear whole or not at all, and on the disk before they appear."""

import contextlib
import errno
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pcd_tf.errors import UserError


@contextlib.contextmanager
def directory(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """Gives a temporary directory that takes the name `path` once the block ends without an error.

    The temporary directory is a hidden sibling, so the renaming stays on one file system. After an
    error in the block it is removed, and what stood at `path` before stands there still.

    Args:
        path: the directory to make; its parents are made too.
        overwrite: whether a directory that holds something may be replaced.

    Yields:
        The empty temporary directory to write into.

    Raises:
        UserError: when `path` is a file, or holds something and may not be replaced.

    Example:
        with directory("run/teacher") as folder:
            (folder / "teacher.json").write_text("{}")
    """
    target = Path(path).resolve()
    refuse_occupied(target, overwrite=overwrite)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        inside = temporary / target.name
        inside.mkdir()  # with the permissions of the user's umask, which mkdtemp does not follow
        yield inside
        for written in inside.rglob("*"):
            flush(written)
        flush(inside)
        refuse_occupied(target, overwrite=overwrite)
        _replace(target, inside, aside=temporary / "replaced")
        flush(target.parent)
    finally:
        shutil.rmtree(temporary)


def refuse_occupied(path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Raises a UserError when `path` is a file, or holds something and may not be replaced."""
    target = Path(path)
    if target.exists() and not target.is_dir():
        raise UserError(f"Expected a directory to write. Received: {target}, which is a file.")
    if not overwrite and target.is_dir() and any(target.iterdir()):
        raise UserError(
            f"Expected a new or empty directory. Received: {target}, which holds something: "
            "name another one, or remove it first."
        )


def _replace(target: Path, new: Path, aside: Path) -> None:
    """Renames `new` to `target`, moving what stands there aside, and back when that fails."""
    try:
        if target.exists():
            target.rename(aside)
        new.rename(target)
    except BaseException:  # a signal may come between the two
        if aside.exists() and not target.exists():
            aside.rename(target)
        raise


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Writes JSON, whole or not at all; null for what is no finite number, which JSON has not.

    Args:
        path: the file; its folder has to exist.
        content: of dicts, lists, texts, numbers, booleans and None.

    Example:
        write_json("results.json", {"AP": math.nan})  # {"AP": null}
    """
    with file(path) as temporary:
        temporary.write_text(json.dumps(_finite(content), indent=2) + "\n")


@contextlib.contextmanager
def file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives a temporary file's path; what the block writes there takes the name `path` at its end.

    After an error in the block nothing of it is left.

    Args:
        path: the file; its folder has to exist. What stands there is replaced.

    Yields:
        The path to write to: hidden, in the same folder.

    Example:
        with file("run/metrics.jsonl") as temporary:
            temporary.write_text(lines)
    """
    target = Path(path)
    temporary = temporary_of(target)
    try:
        yield temporary
        flush(temporary)
        temporary.replace(target)
        flush(target.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def temporary_of(path: Path) -> Path:
    """Names the hidden file that `file` writes; a killed process leaves it behind."""
    return path.with_name(f".{path.name}")


def flush(path: Path) -> None:
    """Brings a file's content, or a folder's list of names, to the disk.

    A power cut would else leave the name of a file that is still empty.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # what file systems say that cannot do it for a folder
            raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        os.close(descriptor)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
