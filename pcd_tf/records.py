"""JSON that comes from outside, as typed records: what does not fit is named by its path."""

import json
import os
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from pcd_tf.errors import UserError

_Record = TypeVar("_Record")


def read(path: str | os.PathLike[str], kind: type[_Record], *, what: str) -> _Record:
    """Reads a JSON file as a record.

    Args:
        path: the file.
        kind: a msgspec.Struct, or another type that msgspec knows. Keys that it has not are passed
            over.
        what: what the file is expected to be, and where it is from, for errors.

    Raises:
        UserError: when the file cannot be read, is no JSON, or holds something else; says where in
            it, as `$.mean[0]`.

    Example:
        read("pyramid.json", dict[str, str], what="a layer for each level, as distill writes it")
    """
    if not Path(path).is_file():
        raise UserError(f"Expected {what}. Received: {path}, which does not exist.")
    try:
        # Python's reader, as Keras writes infinities, which JSON proper has not.
        content: Any = json.loads(Path(path).read_bytes())
        return msgspec.convert(content, kind)
    except (OSError, ValueError, RecursionError) as error:  # msgspec's is a ValueError
        raise UserError(
            f"Expected {what}. Received: {path} ({error}). It is damaged or of another release: "
            "copy it again, or write it anew."
        ) from error
