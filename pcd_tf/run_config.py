"""The config.json of a run: read as a record, compared with what a job is asked for now."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from pcd_tf import atomic
from pcd_tf.errors import UserError

NAME = "config.json"
LOCK = ".lock"  # see `pcd_tf.training.lock`

Record = TypeVar("Record")


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
    path = workdir / NAME
    content = parse(path, dict[str, Any])
    run = convert(path, content, RunConfig)
    facts = {name: value for name, value in content.items() if name not in ("job", "settings")}
    return RunConfig(run.job, run.settings, facts)


def parse(path: Path, kind: type[Record]) -> Record:
    """Reads a JSON file of a run as a record.

    Raises:
        UserError: when it is damaged or of something else; names the field.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _wrong(path, error) from error


def convert(path: Path, content: object, kind: type[Record]) -> Record:
    """Makes a record of what was read from a JSON file of a run.

    Raises:
        UserError: as `parse`.
    """
    try:
        return msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        raise _wrong(path, error) from error


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
        f"{name}: {earlier.get(name)!r} there, {value!r} now"
        for name, value in now.items()
        if earlier.get(name) != value
    ]
    if different:
        raise UserError(
            f"The unfinished run in {folder} is another one; it cannot be resumed:\n  "
            + "\n  ".join(different)
            + f"\nMake these the same, {remedy}."
        )


def _wrong(path: Path, error: Exception) -> UserError:
    return UserError(
        f"Expected the {path.name} of a run. Received: {path}, which is damaged or of something "
        f"else ({error}). Name another directory."
    )
