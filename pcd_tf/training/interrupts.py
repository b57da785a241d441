"""Ctrl-C and termination, told between two steps instead of within one."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def held_back() -> Iterator[Callable[[], bool]]:
    """Holds SIGINT and SIGTERM back in the block, so that it can end at a good place.

    A second signal is not held back. Outside the main thread, where Python lets nobody listen to
    signals, nothing is held back.

    Yields:
        A function that tells whether a signal came.

    Example:
        with held_back() as asked_to_stop:
            while not asked_to_stop():
                step()
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    received: list[int] = []

    def note(number: int, frame: Any) -> None:
        del frame
        if received:
            raise KeyboardInterrupt
        received.append(number)

    earlier = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
