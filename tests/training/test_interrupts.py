import signal
import threading

import pytest

from pcd_tf.training import interrupts


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_first_signal_is_told_and_a_second_stops(number):
    earlier = signal.getsignal(number)
    with interrupts.held_back() as asked_to_stop:
        assert not asked_to_stop()
        signal.raise_signal(number)
        assert asked_to_stop()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert signal.getsignal(number) is earlier


def test_nothing_is_held_back_outside_the_main_thread():
    told = []

    def block():
        with interrupts.held_back() as asked_to_stop:
            told.append(asked_to_stop())

    thread = threading.Thread(target=block)
    thread.start()
    thread.join()
    assert told == [False]
