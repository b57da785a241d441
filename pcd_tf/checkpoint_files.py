"""Checkpoints of TensorFlow as files: written for good, and read from the newest that is whole."""

import logging
import re
import shutil
from pathlib import Path

import tensorflow as tf

from pcd_tf import atomic
from pcd_tf.errors import UserError

NUM_KEPT = 2  # the last, and the one before it in case that one is damaged

logger = logging.getLogger(__name__)


def write(checkpoint: tf.train.Checkpoint, directory: Path, name: str, step: int) -> None:
    """Writes DIRECTORY/NAME-STEP, then removes all but the last few up to that step.

    Those of later steps are removed as well: they are damaged, or the run would have gone on there.
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
    steps = _steps(directory, name)
    kept = [earlier for earlier in steps if earlier <= step][-NUM_KEPT:]
    # For `tf.train.latest_checkpoint` alone; nothing here reads it.
    with atomic.file(directory / "checkpoint") as temporary:
        temporary.write_text(f'model_checkpoint_path: "{name}-{step}"\n')
    for other in steps:
        if other not in kept:
            _remove(directory, name, other)


def find(directory: Path, name: str) -> tuple[str, int] | None:
    """Finds what to go on from: the path and the step of the newest checkpoint that is whole.

    Damaged ones are passed over with a warning; what was being written when a run was killed is
    removed.

    Returns:
        None where there is no checkpoint.

    Raises:
        UserError: when there are some, and all are damaged.
    """
    _remove_torn(directory, name)
    step, damaged = newest_whole(directory, name)
    for path, reason in damaged.items():
        logger.warning("Passed over the damaged checkpoint %s: %s", path, reason)
    if step is not None:
        return str(directory / f"{name}-{step}"), step
    if damaged:
        raise UserError(
            f"Expected a checkpoint that is whole in {directory}. Received: {len(damaged)}, all "
            f"damaged ({'; '.join(damaged.values())}). Remove the directory to start over, or name "
            "another --workdir."
        )
    return None


def newest_whole(directory: Path, name: str) -> tuple[int | None, dict[Path, str]]:
    """Looks for the newest checkpoint that is whole; changes nothing.

    Files are listed, for the text file `checkpoint`, which would name the newest, may be damaged as
    well. Each tensor is read, as TensorFlow checks its CRC-32C on reading, so that nothing of a
    damaged checkpoint ever gets into a model.

    Returns:
        its step, None where there is none; what is wrong with those after it, by their paths.
    """
    damaged: dict[Path, str] = {}
    for step in reversed(_steps(directory, name)):
        path = directory / f"{name}-{step}"
        reason = _damage(path)
        if reason is None:
            return step, damaged
        damaged[path] = reason
    return None, damaged


def _damage(path: Path) -> str | None:
    if not path.with_name(f"{path.name}.index").is_file():
        return f"{path.name}.index is missing"
    try:
        reader = tf.train.load_checkpoint(str(path))
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)
    except (IndexError, ValueError, tf.errors.OpError) as error:
        return str(error).partition("\n")[0]
    return None


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
    for folder in directory.glob(f"{name}-*_temp"):
        shutil.rmtree(folder)
