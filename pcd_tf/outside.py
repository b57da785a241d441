"""Names and messages from outside, made safe once, where they enter."""

import os
import re
from collections.abc import Sequence
from pathlib import PurePath
from typing import Protocol

import msgspec

from pcd_tf.errors import UserError

# msgspec's names of JSON's types, in plain words.
_TYPES = {
    "array": "a list",
    "bool": "true or false",
    "float": "a number",
    "int": "a whole number",
    "object": "an object { }",
    "str": "text",
}
NUM_NAMED = 5  # of a longer list, in a message
NUM_SHOWN = 200  # characters of each; longer than the names that people give


class Labelled(Protocol):
    """A source whose classes have names."""

    name: str
    class_names: tuple[str, ...]


def plain(name: str) -> str:
    """Takes out of a name what a terminal would obey instead of showing it; one space for any."""
    return "".join(filter(str.isprintable, " ".join(name.split())))


def named(names: Sequence[object]) -> str:
    """Lists the first few names, printable: "a, b, c, d, e and 7 more"."""
    more = len(names) - NUM_NAMED
    first = ", ".join(plain(str(name))[:NUM_SHOWN] for name in names[:NUM_NAMED])
    return first + (f" and {more} more" if more > 0 else "")


def relative(name: str, origin: str | os.PathLike[str]) -> PurePath:
    """Takes a file's name for one below a directory.

    Raises:
        UserError: when it leads out of the directory, or holds a zero byte, as no file's name does.
    """
    path = PurePath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name:
        raise UserError(
            f"Expected names of files inside the data directory in {os.fspath(origin)}. "
            f"Received: {name!r}. Put the file there, and name it from there."
        )
    return path


def fault(error: msgspec.DecodeError) -> str:
    """Says in plain words what does not fit: ".ids[3]: expected text, received null"."""
    text, _, path = str(error).partition(" - at `$")
    for name, meaning in _TYPES.items():
        text = re.sub(rf"`([^`]*?)\b{name}\b", rf"`\1{meaning}", text)
    text = text.replace("`", "").replace(" | ", " or ").replace(", got", ", received")
    return f"{path.rstrip('`')}: {text[0].lower()}{text[1:]}"


def check_same_classes(train: Labelled, held_out: Labelled) -> None:
    """Refuses two sources that have not the same classes in the same order."""
    ours, theirs = train.class_names, held_out.class_names
    if ours == theirs:
        return
    only = [
        f"{named([name for name in names if name not in others])} only in {source.name}"
        for names, others, source in ((ours, theirs, train), (theirs, ours, held_out))
        if set(names) - set(others)
    ]
    raise UserError(
        f"Expected the same classes in {train.name} and {held_out.name}. "
        f"Received: {'; '.join(only) or 'another order'}. Make them the same."
    )
