"""Flags from files: what stands in FILE takes the place of `--flagfile=FILE`."""

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from pcd_tf.errors import UserError

_LARGEST = 2**20  # bytes; more is another kind of file


def expanded(arguments: Sequence[str], parents: tuple[Path, ...] = ()) -> Iterator[str]:
    """Puts the flags of files where `--flagfile=FILE` or `--flagfile FILE` stands.

    A line of a file is read as a shell reads it, quotes and all; one that begins with # or // is a
    comment.

    Args:
        arguments: flags, as typed.
        parents: the files that these flags stand in, the innermost last.

    Yields:
        The flags without any --flagfile.

    Raises:
        UserError: for a file that is missing, no text of flags, or within itself.
    """
    words = iter(arguments)
    for word in words:
        name, equals, file = word.partition("=")
        if name not in ("--flagfile", "-flagfile"):
            yield word
            continue
        file = file if equals else next(words, "")
        if not file:
            raise UserError("--flagfile: expected a file. Received: nothing.")
        path = Path(file)
        if path.parts[:1] == ("~",):
            path = path.expanduser()
        lines = _lines(path)
        if path.resolve() in parents:
            raise UserError(f"--flagfile: expected no file within itself. Received: {path}.")
        for number, line in enumerate(lines, start=1):
            try:
                found = shlex.split(line)
            except ValueError as error:
                problem = f"expected flags, quoted as in a shell. Received: {line!r}: {error}."
                raise UserError(f"{path}, line {number}: {problem}") from error
            yield from expanded(found, (*parents, path.resolve()))


def _lines(path: Path) -> list[str]:
    """Reads the lines of a file, those without flags left empty."""
    try:
        if not path.is_file():  # a FIFO would be waited for
            what = "expected an existing file, no directory and no pipe"
            raise UserError(f"--flagfile: {what}. Received: {str(path)!r}.")
        if path.stat().st_size > _LARGEST:
            raise UserError(f"--flagfile: expected a text of at most 1 MiB. Received: {path}.")
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise UserError(f"--flagfile: expected UTF-8. Received: {path}: {error}.") from error
    except OSError as error:
        problem = f"expected a file that can be read. Received: {error.strerror}: {path}."
        raise UserError(f"--flagfile: {problem}") from error
    return ["" if line.strip().startswith(("#", "//")) else line for line in lines]
