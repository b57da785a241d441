"""Threads that share the room for pictures."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from pcd_tf.data._memory import Room

PATIENCE = 20  # seconds, after which a test gives up; none of them waits that long


def started(function: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    return thread


def test_no_more_is_inside_than_there_is_room_for():
    room, inside, most, lock = Room(100), 0, 0, threading.Lock()

    def work(amount: int) -> None:
        nonlocal inside, most
        with room.taken(amount):
            with lock:
                inside += min(amount, 100)
                most = max(most, inside)
            with lock:
                inside -= min(amount, 100)

    amounts = [1, 30, 50, 99, 100, 1000] * 50
    with ThreadPoolExecutor(8) as pool:
        assert len(list(pool.map(work, amounts, timeout=PATIENCE))) == 300
    assert (inside, most <= 100) == (0, True)
    with room.taken(100):  # all of it was given back
        pass


def test_small_ones_go_side_by_side_and_a_large_one_alone():
    room = Room(100)
    side_by_side = threading.Barrier(2, timeout=PATIENCE)

    def small() -> None:
        with room.taken(40):
            side_by_side.wait()

    for thread in [started(small) for _ in range(2)]:
        thread.join(PATIENCE)
        assert not thread.is_alive()

    entered = threading.Event()

    def large() -> None:
        with room.taken(1000):
            entered.set()

    with room.taken(1):
        thread = started(large)
        assert not entered.wait(0.05)
    thread.join(PATIENCE)
    assert entered.is_set()


def test_a_large_one_is_not_overtaken():
    room, order = Room(100), []

    def work(name: str, amount: int) -> None:
        with room.taken(amount):
            order.append(name)

    with room.taken(60):
        large = started(lambda: work("large", 90))
        while not room._next_in_turn.locked():
            pass
        small = started(lambda: work("small", 1))
        small.join(0.05)  # it would fit, but is not first
    for thread in (large, small):
        thread.join(PATIENCE)
    assert order == ["large", "small"]


def test_an_error_gives_the_room_back():
    room = Room(10)
    for _ in range(3):
        with pytest.raises(KeyError), room.taken(10):
            raise KeyError
    with room.taken(10):
        pass


def test_what_a_thread_keeps_is_held_until_it_is_done_or_takes_again():
    room = Room(10)
    with room.keeping():
        with room.taken(10):
            pass
        with room.taken(6):  # in place of the first: no thread waits for itself
            pass
        assert room._free == 4
        with pytest.raises(KeyError), room.taken(10):
            raise KeyError
        assert room._free == 10
        with room.taken(7):
            pass
        assert room._free == 3
    assert room._free == 10
    with room.taken(3):
        pass
    assert room._free == 10


def test_threads_that_keep_do_not_wait_for_one_another_for_ever():
    room = Room(10)

    @room.keeping()
    def work(amount: int) -> int:
        for _ in range(3):
            with room.taken(amount):
                pass
        return amount

    amounts = [1, 4, 6, 10, 99] * 40
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, amounts, timeout=PATIENCE)) == amounts
    assert room._free == 10
