"""SHA-256 of a directory's files, kept beside them: damage to weights does not go unnoticed."""

import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from pcd_tf.errors import UserError

if TYPE_CHECKING:
    import keras

NAME = "SHA256SUMS"  # in the format of sha256sum: `sha256sum -c SHA256SUMS` checks it as well

_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")


def write(directory: str | os.PathLike[str]) -> None:
    """Writes the digests of a directory's files, as the last thing before it gets its name.

    JSON is left out: it is read with a check of its own, and people may edit it.
    """
    folder = Path(directory)
    lines = [f"{of(path)}  {name}\n" for name, path in sorted(_files(folder).items())]
    (folder / NAME).write_text("".join(lines), encoding="utf-8")


def check(directory: str | os.PathLike[str]) -> None:
    """Compares a directory's files with their digests; one without digests passes.

    Raises:
        UserError: when a file is missing or is not the one that was written, or the list of digests
            itself is damaged.
    """
    folder = Path(directory)
    file = folder / NAME
    if not file.is_file():
        return
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    listed = [_LINE.fullmatch(line) for line in lines]
    if not listed or None in listed:
        raise UserError(
            f"Expected lines of sha256sum. Received: {file}, which is damaged: copy {folder} again."
        )
    found = _files(folder)
    for digest, name in (match.groups() for match in listed if match):
        # Only files of the directory are opened, whatever a list from elsewhere names.
        if name not in found or of(found[name]) != digest:
            raise UserError(
                f"Expected {folder / name} to have the SHA-256 that {NAME} gives. Received: "
                f"{'another content' if name in found else 'no such file'}. It is damaged or was "
                "changed: copy the directory again or write it anew; if the change is meant, "
                f"remove {NAME}."
            )


def of(file: Path) -> str:
    """Returns the SHA-256 of a file, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def of_variables(variables: Iterable["keras.Variable"], files: Iterable[Path] = ()) -> str:
    """Returns the SHA-256 of variables' values, and of files behind them, one after another."""
    digest = hashlib.sha256()
    for variable in variables:
        digest.update(variable.numpy().tobytes())
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _files(folder: Path) -> dict[str, Path]:
    """The files in a folder and its folders, by their way from it."""
    return {
        path.relative_to(folder).as_posix(): path
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".json" and path.name != NAME
    }
