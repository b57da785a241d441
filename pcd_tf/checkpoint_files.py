"""Checkpoints of TensorFlow as files: written for good, and read from the newest that is whole."""

import functools
import logging
import re
import shutil
from pathlib import Path

import tensorflow as tf

from pcd_tf import atomic, files
from pcd_tf.errors import UserError

NUM_KEPT = 2  # the last, and the one before it in case that one is damaged
_BYTES_AT_ONCE = 2**20

logger = logging.getLogger(__name__)


def write(checkpoint: tf.train.Checkpoint, directory: Path, name: str, step: int) -> None:
    """Writes DIRECTORY/NAME-STEP, then removes all but the last few.

    What a failed writing leaves is removed.
    """
    _ = checkpoint.save_counter  # made on first use; without it `restore` misses a variable
    try:
        checkpoint.write(str(directory / f"{name}-{step}"))
    except BaseException:
        _remove_torn(directory, name)
        _remove(directory, name, step)
        raise
    for file in directory.glob(f"{name}-{step}.*"):
        atomic.flush(file)
    atomic.flush(directory)
    # For `tf.train.latest_checkpoint` alone; nothing here reads it.
    with atomic.file(directory / "checkpoint") as temporary:
        temporary.write_text(f'model_checkpoint_path: "{name}-{step}"\n')
    for earlier in _steps(directory, name)[:-NUM_KEPT]:
        _remove(directory, name, earlier)


def find(directory: Path, name: str) -> tuple[str, int] | None:
    """Finds what to go on from: the path and the step of the newest checkpoint that is whole.

    Damaged ones after it are removed with a warning, so that they do not count among those that
    are kept; and so is what was being written when a run was killed.

    Returns:
        None where there is no checkpoint.

    Raises:
        UserError: when there are some, and all are damaged: none is removed then. When the disk
            cannot be reached.
        OSError: when a file may not be read.
    """
    _remove_torn(directory, name)
    step, damaged = newest_whole(directory, name)
    if step is None and damaged:
        raise UserError(
            f"Expected a checkpoint that is whole in {directory}. Received: {len(damaged)}, all "
            f"damaged ({'; '.join(damaged.values())}). Remove the directory to start over, or name "
            "another --workdir."
        )
    for number, reason in damaged.items():
        path = directory / f"{name}-{number}"
        logger.warning("Removes the damaged checkpoint %s: %s", path, reason)
        _remove(directory, name, number)
    return None if step is None else (str(directory / f"{name}-{step}"), step)


def newest_whole(directory: Path, name: str) -> tuple[int | None, dict[int, str]]:
    """Looks for the newest checkpoint that is whole; changes nothing.

    Files are listed, for the text file `checkpoint`, which would name the newest, may be damaged as
    well. Each tensor is read, as TensorFlow checks its CRC-32C on reading, so that nothing of a
    damaged checkpoint ever gets into a model.

    Returns:
        its step, None where there is none; what is wrong with those after it, by their steps.
    """
    damaged: dict[int, str] = {}
    for step in reversed(_steps(directory, name)):
        reason = _damage(directory / f"{name}-{step}")
        if reason is None:
            return step, damaged
        damaged[step] = reason
    return None, damaged


def _damage(path: Path) -> str | None:
    """Says what is damaged; what the system says of the disk, or of its own limits, is raised.

    TensorFlow's errors do not tell the two apart, so the files are read without it first.
    """
    present = [file for file in path.parent.iterdir() if file.name.startswith(f"{path.name}.")]
    for file in present:
        files.patiently(functools.partial(_read_through, file), file)
    if path.with_name(f"{path.name}.index") not in present:
        return f"{path.name}.index is missing"
    try:
        reader = tf.train.load_checkpoint(str(path))
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)
    except (IndexError, ValueError, tf.errors.OpError) as error:
        return str(error).partition("\n")[0]
    return None


def _read_through(file: Path) -> None:
    with files.opened(file) as stream:
        while stream.read(_BYTES_AT_ONCE):
            pass


def _steps(directory: Path, name: str) -> list[int]:
    """Lists the steps that have any file, in their order."""
    names = (file.name for file in directory.glob(f"{name}-*"))
    found = (re.fullmatch(rf"{name}-(\d+)\.(?:index|data-.*)", each) for each in names)
    return sorted({int(match[1]) for match in found if match})


def _remove(directory: Path, name: str, step: int) -> None:
    # The index first: data without it are no checkpoint, an index without data is a damaged one.
    for pattern in (f"{name}-{step}.index", f"{name}-{step}.data-*"):
        for file in directory.glob(pattern):
            file.unlink()


def _remove_torn(directory: Path, name: str) -> None:
    """Removes the folders in which TensorFlow was writing when it was stopped."""
    for folder in directory.glob(f"{name}-*_temp/"):
        shutil.rmtree(folder)
