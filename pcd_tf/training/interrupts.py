"""Ctrl-C, termination and a closed terminal, told between two steps instead of within one."""

import contextlib
import signal
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

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        # A terminal that closes sends SIGHUP, and so does its shell: two of these are one.
        if received and number != signal.SIGHUP:
            raise Interrupted(number)
        received.append(number)

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

    Python itself does so for SIGINT alone; the others would end the process at once.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        del frame
        if received and number == signal.SIGHUP:
            return  # the second of a closed terminal's two
        received.append(number)
        raise Interrupted(number)

    received: list[int] = []
    with _listening(interrupt):
        yield


@contextlib.contextmanager
def _listening(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Has a handler called for each signal that the process does not ignore, as under nohup."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    earlier = {number: signal.signal(number, handler) for number in heard}
    try:
        yield
    finally:
        for number, before in earlier.items():
            signal.signal(number, before)
