"""Ctrl-C, termination and a closed terminal, told between two steps instead of within one."""

import contextlib
import os
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """A signal that ended what was being done, with its number."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextlib.contextmanager
def held_back() -> Iterator[Callable[[], bool]]:
    """Holds signals back in the block, so that it can end at a good place by KeyboardInterrupt.

    A second signal is not held back. Outside the main thread, where Python lets nobody listen to
    signals, nothing is held back.

    Yields:
        A function that tells whether a signal came.

    Raises:
        Interrupted: in place of the block's KeyboardInterrupt, where a signal came.

    Example:
        with held_back() as asked_to_stop:
            while not asked_to_stop():
                step()
    """
    received: list[int] = []

    def note(number: int) -> None:
        received.append(number)
        if len(received) > 1:
            raise Interrupted(number)

    try:
        with _listening(note):
            yield lambda: bool(received)
    except KeyboardInterrupt:
        if received:
            raise Interrupted(received[0]) from None
        raise


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """Raises Interrupted in the block when a signal comes, so that what it began is tidied away.

    Python itself does so for SIGINT alone; the others would end the process at once. Where Python
    or a library catches it, or makes another error of it, it is raised at the end of the block.
    """
    received: list[int] = []

    def interrupt(number: int) -> None:
        received.append(number)
        raise Interrupted(number)

    try:
        with _listening(interrupt):
            yield
    except Exception as error:
        if received:
            raise Interrupted(received[0]) from error
        raise
    if received:
        raise Interrupted(received[0])


@contextlib.contextmanager
def _listening(handler: Callable[[int], None]) -> Iterator[None]:
    """Has a handler called for each signal that the process does not ignore, as under nohup.

    A terminal that closes sends SIGHUP, and so does its shell: one after another signal is none.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []

    def hear(number: int, frame: FrameType | None) -> None:
        del frame
        if number == signal.SIGHUP:
            _leave_terminal()
            if received:
                return
        received.append(number)
        handler(number)

    heard = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    earlier = {number: signal.signal(number, hear) for number in heard}
    try:
        yield
    finally:
        for number, before in earlier.items():
            signal.signal(number, before)


def _leave_terminal() -> None:
    """Sends nowhere what is printed from now on: on a closed terminal that would be an error."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):  # it was closed before the start
            if stat.S_ISCHR(os.fstat(descriptor).st_mode):  # files and pipes are still there
                os.dup2(nowhere, descriptor)
    os.close(nowhere)
