"""Signals: held back, raised, and left alone where they are ignored."""

import contextlib
import os
import pty
import signal
import subprocess
import sys
import threading

import pytest

from pcd_tf.training import interrupts

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_first_signal_is_told_and_a_second_stops(number):
    earlier = signal.getsignal(number)
    with interrupts.held_back() as asked_to_stop:
        assert not asked_to_stop()
        signal.raise_signal(number)
        assert asked_to_stop()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(number) is earlier


def test_a_terminal_that_closes_and_its_shell_are_one_signal():
    with interrupts.held_back() as asked_to_stop:
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGHUP)
        assert asked_to_stop()

    tidied = []

    @interrupts.raised()
    def job():
        try:
            signal.raise_signal(signal.SIGHUP)
        finally:
            signal.raise_signal(signal.SIGHUP)  # while what was begun is tidied away
            tidied.append(True)

    with pytest.raises(interrupts.Interrupted):
        job()
    assert tidied == [True]


LEAVE = """
import signal, sys
from pcd_tf.training import interrupts
with interrupts.held_back() as asked_to_stop:
    print("begun", flush=True)
    sys.stdin.read()  # until the terminal is closed
    signal.raise_signal(signal.SIGHUP)
    print("evaluated", flush=True)
    assert asked_to_stop()
"""


def test_a_closed_terminal_can_be_printed_to():
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", LEAVE]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=theirs, stderr=subprocess.PIPE, text=True
    ) as process:
        os.close(theirs)
        with os.fdopen(ours, "rb") as terminal:
            assert terminal.readline() == b"begun\r\n"
        assert process.communicate()[1] == ""
    assert process.returncode == 0


def test_a_file_is_printed_to_after_the_terminal_was_closed(tmp_path):
    command = [sys.executable, "-c", LEAVE]
    done = subprocess.run(command, input="", capture_output=True, text=True, check=True)
    assert done.stdout == "begun\nevaluated\n"


def test_what_stops_a_block_that_held_a_signal_back_has_its_number():
    def stopped_by(*numbers):
        with interrupts.held_back():
            for number in numbers:
                signal.raise_signal(number)
            raise KeyboardInterrupt

    with pytest.raises(interrupts.Interrupted) as caught:
        stopped_by(signal.SIGHUP)
    assert caught.value.number == signal.SIGHUP
    with pytest.raises(KeyboardInterrupt) as plain:
        stopped_by()
    assert type(plain.value) is KeyboardInterrupt


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_raised_and_handlers_are_put_back(number):
    earlier = signal.getsignal(number)
    with pytest.raises(interrupts.Interrupted) as caught, interrupts.raised():
        signal.raise_signal(number)
    assert caught.value.number == number
    assert signal.getsignal(number) is earlier


def test_a_signal_that_is_caught_or_made_another_error_is_raised_all_the_same():
    @interrupts.raised()
    def caught():
        with contextlib.suppress(KeyboardInterrupt):  # as Python does while it frees an object
            signal.raise_signal(signal.SIGHUP)

    @interrupts.raised()
    def made_another():
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt as error:
            raise SystemError("bad argument to internal function") from error

    for job in (caught, made_another):
        with pytest.raises(interrupts.Interrupted):
            job()


@pytest.mark.parametrize("number", SIGNALS)
def test_an_ignored_signal_stays_ignored(number):
    """As SIGHUP under nohup, and SIGINT in the background of a script."""
    earlier = signal.signal(number, signal.SIG_IGN)
    try:
        with interrupts.raised(), interrupts.held_back() as asked_to_stop:
            signal.raise_signal(number)
            assert not asked_to_stop()
    finally:
        signal.signal(number, earlier)


def test_nothing_is_held_back_outside_the_main_thread():
    told = []

    def block():
        with interrupts.raised(), interrupts.held_back() as asked_to_stop:
            told.append(asked_to_stop())

    thread = threading.Thread(target=block)
    thread.start()
    thread.join()
    assert told == [False]
