"""A directory appears whole or not at all."""

import contextlib
import errno
import os
from pathlib import Path

import pytest

from pcd_tf import atomic


def test_the_directory_appears_at_the_end(tmp_path):
    target = tmp_path / "parent" / "target"
    with atomic.directory(target) as folder:
        (folder / "file").write_text("x")
        assert not target.exists()
    assert (target / "file").read_text() == "x"
    assert [path.name for path in target.parent.iterdir()] == ["target"]


def test_an_error_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError, match="in the middle"):
        fail_in_the_middle(tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_an_occupied_directory_is_refused_before_anything_is_written(tmp_path):
    (tmp_path / "kept").touch()
    occupied = atomic.directory(tmp_path)
    with pytest.raises(ValueError, match="Expected a new or empty directory"), occupied:
        pytest.fail("the block was run")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_a_file_is_refused_even_to_be_overwritten(tmp_path):
    (tmp_path / "file").touch()
    occupied = atomic.directory(tmp_path / "file", overwrite=True)
    with pytest.raises(ValueError, match="file, which is a file"), occupied:
        pytest.fail("the block was run")


def test_overwriting_replaces_everything(tmp_path):
    old(tmp_path / "x")
    with atomic.directory(tmp_path / "x", overwrite=True) as folder:
        (folder / "new").touch()
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["x", "x/new"]


def test_an_error_while_overwriting_keeps_the_old(tmp_path):
    old(tmp_path / "x")
    with pytest.raises(RuntimeError, match="in the middle"):
        fail_in_the_middle(tmp_path / "x", overwrite=True)
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["x", "x/old"]


@pytest.mark.parametrize("number", [1, 2])
def test_a_signal_while_the_old_is_replaced_loses_neither(tmp_path, monkeypatch, number):
    """It comes behind the first renaming, which moves the old aside, or the second."""
    rename, renamed = Path.rename, []

    def renaming(self, target):
        renamed.append(rename(self, target))
        if len(renamed) == number:
            raise KeyboardInterrupt

    old(tmp_path / "x")
    monkeypatch.setattr(Path, "rename", renaming)
    with (
        pytest.raises(KeyboardInterrupt),
        atomic.directory(tmp_path / "x", overwrite=True) as folder,
    ):
        (folder / "new").touch()
    expected = ["x", "x/old" if number == 1 else "x/new"]
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == expected


def test_what_another_writes_meanwhile_is_not_overwritten(tmp_path):
    with pytest.raises(ValueError, match="holds something"), atomic.directory(tmp_path / "x"):
        old(tmp_path / "x")
    assert (tmp_path / "x" / "old").exists()


def test_an_empty_directory_and_a_link_to_one_can_be_filled(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with atomic.directory(tmp_path / "link") as folder:
        (folder / "file").touch()
    assert (tmp_path / "real" / "file").exists()
    assert (tmp_path / "link").is_symlink()


def test_the_permissions_are_those_of_any_new_directory(tmp_path):
    (tmp_path / "plain").mkdir()
    with atomic.directory(tmp_path / "atomic"):
        pass
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.fixture
def flushed(monkeypatch):
    """The numbers (inodes) of what was brought to the disk, in this order."""
    numbers: list[int] = []
    fsync = os.fsync

    def noting(descriptor):
        numbers.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    return numbers


def test_all_of_a_directory_is_on_the_disk_before_it_has_its_name(tmp_path, flushed, monkeypatch):
    replace = atomic._replace

    def replacing(target, new, aside):
        found = [new, *new.rglob("*")]
        assert len(found) == 4
        assert {path.stat().st_ino for path in found} == set(flushed)
        replace(target, new, aside)

    monkeypatch.setattr(atomic, "_replace", replacing)
    with atomic.directory(tmp_path / "x") as folder:
        (folder / "a").touch()
        (folder / "b").mkdir()
        (folder / "b" / "c").touch()
    assert flushed[-1] == tmp_path.stat().st_ino  # the name itself


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, flushed, monkeypatch):
    replace = Path.replace

    def replacing(self, target):
        assert flushed == [self.stat().st_ino]
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", replacing)
    atomic.write_json(tmp_path / "x.json", {"a": float("nan")})
    assert (tmp_path / "x.json").read_text() == '{\n  "a": null\n}\n'
    assert flushed[1:] == [tmp_path.stat().st_ino]


def test_an_error_while_a_file_is_written_leaves_the_old_one(tmp_path):
    (tmp_path / "x.json").write_text("old")
    with pytest.raises(TypeError):
        atomic.write_json(tmp_path / "x.json", object())
    with contextlib.suppress(RuntimeError), atomic.file(tmp_path / "x.json") as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


@pytest.mark.parametrize(("number", "is_raised"), [(errno.EINVAL, False), (errno.EIO, True)])
def test_a_file_system_that_cannot_flush_folders_is_used(tmp_path, monkeypatch, number, is_raised):
    def failing(descriptor):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", failing)
    if is_raised:
        with pytest.raises(OSError, match="Input/output error"):
            atomic.flush(tmp_path)
    else:
        atomic.flush(tmp_path)


def fail_in_the_middle(target, **options):
    with atomic.directory(target, **options) as folder:
        (folder / "new").touch()
        raise RuntimeError("in the middle")


def old(folder):
    folder.mkdir()
    (folder / "old").touch()
