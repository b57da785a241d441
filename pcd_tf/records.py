"""JSON that comes from outside, as typed records: what does not fit is named by its path."""

import json
import os
from pathlib import Path
from typing import TypeVar

import msgspec

from pcd_tf import files, outside
from pcd_tf.errors import UserError

# Some five times the largest configuration of a network; in memory it grows thirtyfold.
_MAX_BYTES = 2**24
_REMEDY = "It is damaged or of another release: copy it again, or write it anew."

_Record = TypeVar("_Record")


def read(
    path: str | os.PathLike[str],
    kind: type[_Record],
    *,
    what: str,
    remedy: str = _REMEDY,
    most: int | None = _MAX_BYTES,
) -> _Record:
    """Reads a JSON file as a record.

    Args:
        path: the file.
        kind: a msgspec.Struct, or another type that msgspec knows. Keys that it has not are passed
            over.
        what: what the file is expected to be, and where it is from, for errors.
        remedy: what to do when it is not.
        most: how many bytes it may have; None for any number.

    Raises:
        UserError: when there is no such file, it is no JSON, or holds something else; says where
            in it, as `.mean[0]`.

    Example:
        read("pyramid.json", dict[str, str], what="a layer for each level, as distill writes it")
    """
    if not files.is_file(path):
        raise UserError(f"Expected {what}. Received: {path}, which is no file.")
    content = files.read_bytes(Path(path), most=None if most is None else most + 1)
    return parse(content, kind, what=what, origin=path, remedy=remedy, most=most)


def parse(
    content: bytes,
    kind: type[_Record],
    *,
    what: str,
    origin: str | os.PathLike[str],
    remedy: str = _REMEDY,
    most: int | None = _MAX_BYTES,
) -> _Record:
    """Makes a record of JSON that is read already; `origin` is where, else see `read`."""
    try:
        if most is not None and len(content) > most:
            raise ValueError(f"more than the {most} bytes of such a file")
        # Python's reader, as Keras writes infinities, which JSON proper has not.
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UserError(f"Expected {what}. Received: {origin} ({error}). {remedy}") from error
    return convert(value, kind, what=what, origin=origin, remedy=remedy)


def convert(
    value: object,
    kind: type[_Record],
    *,
    what: str,
    origin: str | os.PathLike[str],
    remedy: str = _REMEDY,
) -> _Record:
    """Makes a record of what JSON holds; `origin` is where it is from, else see `read`."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        fault = outside.fault(error).lstrip(": ")
        raise UserError(f"Expected {what}. Received: {origin} ({fault}). {remedy}") from error
