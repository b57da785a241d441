"""How much of pictures lies in memory at once, over all threads of the process."""

import contextlib
import threading
from collections.abc import Iterator

# Pillow's own limit. At 12 bytes a pixel, which three copies of 4 bytes take while a picture is
# converted, it is 2 GiB.
MAX_PIXELS = 2**31 // 12
# Of pixels a side, of what is prepared: then no image has more than `_native` decodes, 2^24.
LARGEST_SIDE = 4096


class Room:
    """Lets threads work side by side as long as what they hold fits; a larger piece goes alone.

    Threads are served in the order that they come in, so that a large piece is not kept waiting by
    small ones. A thread waits only with empty hands, so none waits for ever.

    Args:
        size: the sum of what may be held at once.

    Example:
        room = Room(100)
        with room.taken(60):
            ...
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._free = size
        self._next_in_turn = threading.Lock()
        self._freed = threading.Condition()

    @contextlib.contextmanager
    def taken(self, amount: int) -> Iterator[None]:
        """Waits until there is room for an amount, and holds it until the end of this block."""
        amount = min(amount, self.size)
        with self._next_in_turn, self._freed:
            self._freed.wait_for(lambda: self._free >= amount)
            self._free -= amount
        try:
            yield
        finally:
            with self._freed:
                self._free += amount
                self._freed.notify()  # one at most waits here: the next in turn
