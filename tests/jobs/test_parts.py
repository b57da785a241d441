"""What an unfinished pass keeps, and what it refuses to go on with."""

import json
from pathlib import Path

import numpy as np
import pytest

from pcd_tf.jobs._parts import Part, Parts

IDENTITY = {"model_sha256": "abc", "image_size": 32}


def part(*numbers: int) -> Part:
    vectors = np.array([[number, 0.5] for number in numbers], np.float32).reshape(-1, 2)
    return Part(np.array(numbers, np.int64), vectors, np.full(len(numbers), -1))


def kept(parts: Parts) -> list[int]:
    return [int(number) for one in parts for number in one.index]


def test_parts_are_found_again_in_order(tmp_path: Path):
    first = Parts(tmp_path / "x.partial", IDENTITY)
    assert first.num_done == 0
    first.add(3, part(0, 2))
    first.add(10, part(4, 5, 9))
    again = Parts(tmp_path / "x.partial", dict(reversed(IDENTITY.items())))
    assert again.num_done == 10
    assert kept(again) == [0, 2, 4, 5, 9]
    _, two = again
    np.testing.assert_array_equal(two.embeddings, part(4, 5, 9).embeddings)
    assert two.embeddings.dtype == np.float32
    again.add(1_000_000_000_000, part())
    assert Parts(tmp_path / "x.partial", IDENTITY).num_done == 10**12
    again.remove()
    assert not (tmp_path / "x.partial").exists()


def test_no_file_of_the_folder_is_open_when_it_is_removed(tmp_path: Path, monkeypatch):
    """NFS would keep it there under another name, and the folder with it."""
    parts = Parts(tmp_path / "p", IDENTITY)
    stream = parts._lock.stream
    monkeypatch.setattr("shutil.rmtree", lambda folder: closed.append(stream.closed))
    closed: list[bool] = []
    parts.remove()
    assert closed == [True]


def test_parts_after_a_gap_are_not_counted(tmp_path: Path):
    parts = Parts(tmp_path / "p", IDENTITY)
    for stop in (2, 4, 6):
        parts.add(stop, part(stop - 2, stop - 1))
    sorted(parts.folder.glob("*.npz"))[1].unlink()
    again = Parts(parts.folder, IDENTITY)
    assert again.num_done == 2
    assert kept(again) == [0, 1]
    again.add(6, part(2, 3, 4, 5))
    assert kept(Parts(parts.folder, IDENTITY)) == [0, 1, 2, 3, 4, 5]


def test_a_part_that_was_being_written_is_not_there(tmp_path: Path, monkeypatch):
    parts = Parts(tmp_path / "p", IDENTITY)

    def killed(*args, **kwargs):
        args[0].write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", killed)
    with pytest.raises(KeyboardInterrupt):
        parts.add(3, part(0))
    assert Parts(tmp_path / "p", IDENTITY).num_done == 0


@pytest.mark.parametrize("left", [[], [".config.json"]])
def test_what_a_kill_at_the_start_leaves_counts_as_new(tmp_path: Path, left: list[str]):
    (tmp_path / "p").mkdir()
    for name in left:
        (tmp_path / "p" / name).write_text("{")
    Parts(tmp_path / "p", IDENTITY).add(3, part(0))
    assert Parts(tmp_path / "p", IDENTITY).num_done == 3


def test_parts_of_another_pass_are_refused_by_name(tmp_path: Path):
    Parts(tmp_path / "p", IDENTITY).add(3, part(0))
    with pytest.raises(ValueError, match=r"another one.*\n  image_size: 32 there, 64 now\nMake"):
        Parts(tmp_path / "p", IDENTITY | {"image_size": 64})
    with pytest.raises(ValueError, match="seed: None there, 1 now"):
        Parts(tmp_path / "p", IDENTITY | {"seed": 1})


def test_a_pass_without_a_part_is_begun_anew(tmp_path: Path):
    Parts(tmp_path / "p", IDENTITY)
    Parts(tmp_path / "p", IDENTITY | {"image_size": 64}).add(3, part(0))
    assert json.loads((tmp_path / "p" / "config.json").read_text())["image_size"] == 64
    with pytest.raises(ValueError, match="image_size: 64 there, 32 now"):
        Parts(tmp_path / "p", IDENTITY)


def test_a_folder_of_something_else_is_refused(tmp_path: Path):
    (tmp_path / "photo.jpg").write_text("precious")
    with pytest.raises(ValueError, match="Received: something else"):
        Parts(tmp_path, IDENTITY)
    (tmp_path / "config.json").write_text(json.dumps([1, 2]))
    with pytest.raises(ValueError, match="Received: something else"):
        Parts(tmp_path, IDENTITY)
    assert (tmp_path / "photo.jpg").exists()


@pytest.mark.parametrize("content", [b"", b"PK", b"no part at all"])
def test_a_damaged_part_is_named(tmp_path: Path, content: bytes):
    parts = Parts(tmp_path / "p", IDENTITY)
    parts.add(3, part(0))
    (file,) = (tmp_path / "p").glob("*.npz")
    file.write_bytes(content)
    with pytest.raises(ValueError, match=f"{file}, which is damaged .* Remove it"):
        list(Parts(tmp_path / "p", IDENTITY))
