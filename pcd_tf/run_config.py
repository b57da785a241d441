"""The config.json of a run: read as a record, compared with what a job is asked for now."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from pcd_tf import atomic, records
from pcd_tf.errors import UserError

NAME = "config.json"
LOCK = ".lock"  # see `pcd_tf.training.lock`
ERRORS = "pcd-tf-error-"  # how the names of tracebacks begin that main.py leaves there

WHAT = f"the {NAME} of a run"
_IMAGES = " (images were added, removed or renamed)"
_MEANING = {"images_sha256": _IMAGES, "eval_images_sha256": _IMAGES}
REMEDY = "It is damaged or of something else: name another directory."


class RunConfig(msgspec.Struct, frozen=True):
    """What is kept of every run.

    Args:
        job: its name.
        settings: by name.
        facts: whatever else stands in the file, by name: the run's images, its teacher, versions.
    """

    job: str
    settings: dict[str, Any]
    facts: dict[str, Any] = {}


def read(workdir: Path) -> RunConfig:
    """Reads the config.json of a workdir; many other things have a file of this name as well.

    Raises:
        UserError: when it is not that of a run.
    """
    content = records.read(workdir / NAME, dict[str, Any], what=WHAT, remedy=REMEDY)
    run = records.convert(content, RunConfig, what=WHAT, origin=workdir / NAME, remedy=REMEDY)
    facts = {name: value for name, value in content.items() if name not in ("job", "settings")}
    return RunConfig(run.job, run.settings, facts)


def is_new(folder: Path) -> bool:
    """Tells whether a folder holds nothing, or what a run leaves that ends before config.json."""
    if not folder.is_dir():
        return not folder.exists()
    left = (LOCK, atomic.temporary_of(folder / NAME).name)
    return all(path.name.startswith(left) for path in folder.iterdir())


def refuse_changes(
    folder: Path, earlier: Mapping[str, Any], now: Mapping[str, Any], remedy: str
) -> None:
    """Raises a UserError that names what differs between an unfinished run and the one asked for.

    Args:
        folder: of the run.
        earlier: what it was begun with.
        now: what has to be the same; JSON values.
        remedy: beside making these the same.
    """
    different = [
        f"{name}: {earlier.get(name)!r} there, {value!r} now{_MEANING.get(name, '')}"
        for name, value in now.items()
        if earlier.get(name) != value
    ]
    if different:
        raise UserError(
            f"The unfinished run in {folder} is another one; it cannot be resumed:\n  "
            + "\n  ".join(different)
            + f"\nMake these the same, {remedy}."
        )
