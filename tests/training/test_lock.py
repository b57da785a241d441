"""One process at a time in a folder."""

import contextlib
import errno
import fcntl
import gc
import json
import os
import platform
import signal
import subprocess
import sys

import pytest

from pcd_tf.configs.distill import Config
from pcd_tf.errors import UserError
from pcd_tf.jobs._parts import Parts
from pcd_tf.training import lock
from pcd_tf.training.run_directory import RunDirectory

HOLD = """
import pathlib, sys
from pcd_tf.training import lock
held = lock.hold(pathlib.Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def another_process(folder):
    """Has the lock of a folder held by another process; yields it."""
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def snapshot(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_second_process_is_refused_and_told_who_and_changes_nothing(tmp_path):
    config = Config(workdir=str(tmp_path / "run"), teacher_checkpoint="teacher")
    RunDirectory(config.workdir, "distill", config).create()
    gc.collect()
    with another_process(tmp_path / "run") as process:
        before = snapshot(tmp_path)
        for refused in (
            lambda: RunDirectory(config.workdir, "distill", config),
            lambda: Parts(tmp_path / "run", {}),
            lambda: lock.hold(tmp_path / "run"),
        ):
            with pytest.raises(UserError, match=f"process {process.pid} on {platform.node()}"):
                refused()
        assert snapshot(tmp_path) == before
        process.send_signal(signal.SIGKILL)
        process.wait()
        RunDirectory(config.workdir, "distill", config).create()  # a dead process holds nothing


def test_what_began_in_another_process_meanwhile_is_seen(tmp_path):
    config = Config(workdir=str(tmp_path / "run"), teacher_checkpoint="teacher")
    late = RunDirectory(config.workdir, "distill", config)
    (tmp_path / "run").mkdir()
    with another_process(tmp_path / "run"):
        with pytest.raises(UserError, match="has been at work since"):
            late.create()
        assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]
    other = RunDirectory(config.workdir, "distill", config)
    other.create()
    other.finish()
    with pytest.raises(UserError, match="is finished"):
        late.create()
    assert not (tmp_path / "run" / ".lock").exists()


def test_a_process_may_ask_again_for_what_it_holds_and_gives_it_back_at_the_end(tmp_path):
    first = lock.hold(tmp_path)
    assert lock.hold(tmp_path) is first
    assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()
    del first
    gc.collect()
    with another_process(tmp_path):
        pass


@pytest.mark.parametrize("text", ["", "{", '{"pid": 3}', "\0\0"])
def test_a_lock_that_says_nothing_is_held_by_another_process(tmp_path, text):
    with another_process(tmp_path):
        (tmp_path / ".lock").write_text(text)
        with pytest.raises(UserError, match="where another process is at work"):
            lock.hold(tmp_path)


def test_a_file_system_without_locks_is_told_and_used(tmp_path, monkeypatch, caplog):
    def unsupported(*arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    lock.hold(tmp_path)
    assert "without locks" in caplog.text
