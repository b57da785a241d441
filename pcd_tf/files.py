"""Files that others made: only regular ones are opened, and again while their disk is away."""

import errno
import logging
import os
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, TypeVar

from pcd_tf.errors import UserError

logger = logging.getLogger(__name__)

T = TypeVar("T")

PAUSES = (1, 2, 4, 8, 16, 32)  # seconds; a minute together, in which a file server starts again

# When a folder was first found away, on the monotonic clock, until something in it is read again.
_away_since: dict[str, float] = {}
ending = threading.Event()  # the process ends: nothing is waited for any more

# What the system says when it cannot reach a disk, whatever the file; all else is the file's fault.
_AWAY = frozenset(
    {
        errno.EIO,
        errno.ENODEV,
        errno.ENFILE,
        errno.EMFILE,
        errno.ESTALE,
        errno.ETIMEDOUT,
        errno.ENOTCONN,
        errno.ECONNABORTED,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETUNREACH,
    }
)


def opened(path: str | os.PathLike[str]) -> BinaryIO:
    """Opens a regular file to read its bytes.

    A FIFO or a device would be waited for without end, whatever its name says.

    Raises:
        OSError: when it cannot be opened, or is no regular file.

    Example:
        with files.opened("notes.json") as file:
            content = file.read()
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no regular file", os.fspath(path))
    return os.fdopen(descriptor, "rb")


def is_file(path: str | os.PathLike[str]) -> bool:
    """Tells whether there is a regular file, or a link to one; False for an impossible name."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)  # noqa: PTH116 - takes texts as well
    except (OSError, ValueError):  # too long a name, or a zero byte in it
        return False


def read_bytes(path: Path, most: int | None = None) -> bytes:
    """Reads a file, of a larger one the first `most` bytes.

    Raises:
        UserError: when it is missing, no regular file, or cannot be read.
    """

    def read() -> bytes:
        with opened(path) as file:
            return file.read(-1 if most is None else most)

    try:
        return patiently(read, path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"Expected a file that can be read. Received: {path}: {reason}.") from error


def read_lines(path: Path) -> list[str]:
    """Reads the lines of a text in UTF-8, with or without a byte-order mark, each stripped.

    Raises:
        UserError: as `read_bytes`, and when it is not UTF-8.
    """
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"Expected a text in UTF-8, {path}. Received: other bytes at {error.start}. "
            "Save it as UTF-8."
        ) from error
    return [line.strip() for line in text.rstrip().splitlines()]


def patiently(read: Callable[[], T], path: Path, root: str | os.PathLike[str] | None = None) -> T:
    """Calls a function that reads a file or a folder, and again after growing pauses.

    Only what tells of a disk that cannot be reached is worth a pause: an input/output error, a
    folder that is gone. A missing or damaged file is not. Threads that wait for one folder share
    the time.

    Args:
        read: called with nothing.
        path: what it reads.
        root: the directory of the whole data set. An empty one counts as gone: a disk that is not
            mounted leaves an empty directory.

    Returns:
        what `read` returns.

    Raises:
        UserError: when the disk stays away, naming the path.
        OSError: as `read` raises it, when the file is at fault.
    """
    folder = os.fspath(path.parent if root is None else root)
    pauses = iter(PAUSES)
    while True:
        try:
            result = read()
        except OSError as error:
            reason = _why_away(error, path, root)
            if reason is None:
                raise
            pause, now = next(pauses, None), time.monotonic()
            if folder not in _away_since:
                _away_since[folder] = now
                logger.warning("Cannot read %s: %s. Tries for %d s.", path, reason, sum(PAUSES))
            is_over = pause is None or now - _away_since[folder] > sum(PAUSES)
            if is_over or ending.wait(pause):
                raise UserError(
                    f"Expected to read {path}. Received: {reason}, for {sum(PAUSES)} s. Is the "
                    "disk away? Bring it back; the same command then goes on from what it kept."
                ) from error
        else:
            _away_since.pop(folder, None)
            return result


def _why_away(error: OSError, path: Path, root: str | os.PathLike[str] | None) -> str | None:
    """Says why a disk cannot be reached; None when the error is the file's own."""
    if error.errno in _AWAY:
        return f"{error.strerror} (error {error.errno})"
    if error.errno not in (errno.ENOENT, errno.ENOTDIR):
        return None
    if root is not None and not _holds_something(root):
        return f"{root} is gone or empty"
    return None if path.parent.is_dir() else f"{path.parent} is gone"


def _holds_something(folder: str | os.PathLike[str]) -> bool:
    try:
        with os.scandir(folder) as entries:
            return next(entries, None) is not None
    except OSError:
        return False
