"""A directory appears whole or not at all."""

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


def fail_in_the_middle(target, **options):
    with atomic.directory(target, **options) as folder:
        (folder / "new").touch()
        raise RuntimeError("in the middle")


def old(folder):
    folder.mkdir()
    (folder / "old").touch()
