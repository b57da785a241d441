"""JSON that comes from outside, as typed records: what does not fit is named by its path."""

import json
import os
from pathlib import Path
from typing import TypeVar

import msgspec

from pcd_tf import outside
from pcd_tf.errors import UserError

# Some five times the largest configuration of a network; in memory it grows thirtyfold.
_MAX_BYTES = 2**24

_Record = TypeVar("_Record")


def read(path: str | os.PathLike[str], kind: type[_Record], *, what: str) -> _Record:
    """Reads a JSON file as a record.

    Args:
        path: the file.
        kind: a msgspec.Struct, or another type that msgspec knows. Keys that it has not are passed
            over.
        what: what the file is expected to be, and where it is from, for errors.

    Raises:
        UserError: when there is no such file, it is no JSON, or holds something else; says where
            in it, as `.mean[0]`.

    Example:
        read("pyramid.json", dict[str, str], what="a layer for each level, as distill writes it")
    """
    if not outside.is_file(Path(path)):
        raise UserError(f"Expected {what}. Received: {path}, which is no file.")
    return parse(Path(path).read_bytes(), kind, what=what, origin=str(path))


def parse(content: bytes, kind: type[_Record], *, what: str, origin: str) -> _Record:
    """Makes a record of JSON that is read already; `origin` is where, else see `read`."""
    try:
        if len(content) > _MAX_BYTES:
            raise ValueError(f"{len(content)} bytes, expected at most {_MAX_BYTES}")
        # Python's reader, as Keras writes infinities, which JSON proper has not.
        return msgspec.convert(json.loads(content), kind)
    except msgspec.ValidationError as error:
        reason = outside.fault(error).lstrip(": ")
    except (ValueError, RecursionError) as error:
        reason = str(error)
    raise UserError(
        f"Expected {what}. Received: {origin} ({reason}). It is damaged or of another release: "
        "copy it again, or write it anew."
    )
