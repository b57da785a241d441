"""One process at a time in a folder."""

import datetime as dt
import fcntl
import json
import logging
import os
import platform
import weakref
from pathlib import Path
from typing import IO

import msgspec

from pcd_tf import run_config
from pcd_tf.errors import UserError

logger = logging.getLogger(__name__)


class Lock:
    """Keeps other processes from a folder for as long as it, or its process, lives.

    Args:
        stream: of the file that is locked.
    """

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream

    def __del__(self) -> None:
        self.stream.close()


class _Holder(msgspec.Struct):
    """Who has the lock; the text of the lock's file."""

    host: str
    pid: int
    since: str


# By the device and the number of the locked file: in one process a run that was stopped, in a
# notebook say, may still hold what the same run asks for again.
_held: weakref.WeakValueDictionary[tuple[int, int], Lock] = weakref.WeakValueDictionary()


def hold(folder: Path) -> Lock:
    """Takes the lock of a folder, and notes in it who holds it.

    The operating system gives the lock of a dead process back, so none is ever stale.

    Raises:
        UserError: when another process has it; says which.
    """
    lock = _take(folder)
    now = dt.datetime.now().astimezone().isoformat(" ", "seconds")
    lock.stream.truncate(0)
    lock.stream.write(json.dumps({"host": platform.node(), "pid": os.getpid(), "since": now}))
    lock.stream.flush()
    return lock


def refuse_held(folder: Path) -> None:
    """Raises a UserError when another process has the lock of a folder; changes nothing."""
    if (folder / run_config.LOCK).exists():
        _take(folder)  # and gives it back


def _take(folder: Path) -> Lock:
    stream = (folder / run_config.LOCK).open("a+")
    status = os.fstat(stream.fileno())
    key = status.st_dev, status.st_ino
    if (ours := _held.get(key)) is not None:
        stream.close()
        return ours
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        with stream:
            stream.seek(0)
            holder = _describe(stream.read())
        raise UserError(
            f"Expected a folder that no other process writes to. Received: {folder}, where {holder}"
            ". Wait for its end, or name another place."
        ) from error
    except OSError as error:
        logger.warning(
            "%s is on a file system without locks (%s): start no second process there.",
            folder,
            error,
        )
    _held[key] = lock = Lock(stream)
    return lock


def _describe(text: str) -> str:
    try:
        holder = msgspec.json.decode(text, type=_Holder)
    except msgspec.MsgspecError:
        return "another process is at work"
    return f"process {holder.pid} on {holder.host} has been at work since {holder.since}"
