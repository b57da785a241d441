"""Files of others: what is opened, what is tried again, what is given up by name."""

import errno
import os
import socket
import threading
import time
from pathlib import Path

import pytest

from pcd_tf import files
from pcd_tf.errors import UserError


@pytest.fixture
def pauses(monkeypatch):
    """The pauses that were made, none of them in truth."""
    made: list[float] = []
    monkeypatch.setattr(files.ending, "wait", made.append)
    monkeypatch.setattr(files, "_away_since", {})
    return made


def failing(*errors: OSError | None):
    """A function that raises one error after the other, and returns at a None."""
    remaining = iter(errors)

    def read():
        error = next(remaining)
        if error is not None:
            raise error
        return "content"

    return read


def test_a_regular_file_is_opened(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    for name in ("file", "link"):
        with files.opened(tmp_path / name) as file:
            assert file.read() == b"content"


def test_nothing_else_is_opened_nor_waited_for(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    os.mkfifo("fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        for name in ("fifo", "socket", ".", "/dev/null", "gone"):
            with pytest.raises(OSError, match=f"'{name}'"):
                files.opened(name)


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN])
def test_a_disk_that_comes_back_is_waited_for(pauses, caplog, number):
    error = OSError(number, "away")
    assert files.patiently(failing(error, error, error, None), Path("photo.jpg")) == "content"
    assert pauses == [1, 2, 4]
    (line,) = [record.getMessage() for record in caplog.records]
    assert "photo.jpg: away" in line


def test_a_disk_that_stays_away_is_named(pauses):
    error = OSError(errno.EIO, "Input/output error")
    with pytest.raises(UserError, match=r"photo\.jpg\. Received: Input/output error \(error 5\)"):
        files.patiently(failing(*[error] * 7), Path("photo.jpg"))
    assert pauses == list(files.PAUSES)


def test_files_of_one_folder_are_waited_for_together(pauses, monkeypatch):
    error = OSError(errno.EIO, "Input/output error")
    clock = iter(range(0, 1000, 40))  # seconds
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    for name in ("1.jpg", "2.jpg", "3.jpg"):
        with pytest.raises(UserError):
            files.patiently(failing(*[error] * 7), Path("photos") / name)
    assert pauses == [1, 2]  # the minute is over at the third failure, for all
    assert files.patiently(failing(None), Path("photos/4.jpg")) == "content"
    assert files._away_since == {}


def test_nothing_is_waited_for_when_the_process_ends(monkeypatch):
    monkeypatch.setattr(files, "_away_since", {})
    monkeypatch.setattr(files, "ending", threading.Event())
    files.ending.set()
    error = OSError(errno.EIO, "Input/output error")
    with pytest.raises(UserError):
        files.patiently(failing(error), Path("photo.jpg"))


def test_a_folder_that_is_gone_is_a_disk_that_is_away(pauses, tmp_path: Path):
    missing = FileNotFoundError(errno.ENOENT, "missing")
    gone = tmp_path / "gone" / "photo.jpg"
    assert files.patiently(failing(missing, None), gone) == "content"
    with pytest.raises(UserError, match=rf"Received: {tmp_path} is gone or empty, for 63 s"):
        files.patiently(failing(*[missing] * 7), tmp_path / "photo.jpg", root=tmp_path)
    assert pauses == [1, *files.PAUSES]


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EACCES, errno.ELOOP, errno.EINVAL, None])
def test_what_is_the_file_s_own_fault_is_not_tried_again(pauses, tmp_path: Path, number):
    (tmp_path / "other.jpg").touch()
    error = OSError("broken") if number is None else OSError(number, "broken")
    with pytest.raises(OSError, match="broken"):
        files.patiently(failing(error), tmp_path / "photo.jpg", root=tmp_path)
    assert pauses == []


def test_lines_are_read_with_and_without_a_byte_order_mark(tmp_path):
    file = tmp_path / "classes.txt"
    file.write_bytes("\ufeffchien\r\n\n ch\u00e2t \n\n".encode())
    assert files.read_lines(file) == ["chien", "", "ch\u00e2t"]
    file.write_bytes("ch\u00e2t".encode("latin-1"))
    with pytest.raises(UserError, match="UTF-8, .*classes.txt. Received: other bytes at 2"):
        files.read_lines(file)
    file.unlink()
    os.mkfifo(file)  # reading it would wait for ever
    with pytest.raises(
        UserError, match="Expected a file that can be read. Received: .*classes.txt"
    ):
        files.read_lines(file)


def test_only_files_are_files(tmp_path):
    (tmp_path / "there").touch()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert files.is_file(tmp_path / "there")
    assert files.is_file(tmp_path / "link")
    for name in ("away", "loop", "a" * 999, "zero\0byte", "."):
        assert not files.is_file(tmp_path / name)
