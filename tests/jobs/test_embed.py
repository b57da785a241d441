"""`embed` from the command line, with a toy in place of the network where time matters."""

import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import main
from pcd_tf import students
from pcd_tf.data import plain_images
from pcd_tf.data.folder import FolderSource
from pcd_tf.jobs import embed
from pcd_tf.jobs._parts import Parts
from pcd_tf.models import embedder
from tests import tiny_run

NUM_FILES = 11
BROKEN = 4  # in the sorted order
SIZE = 32


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> Path:
    """Two classes, one of them in two folders; one file is no image, one lies twice as deep."""
    folder = tmp_path_factory.mktemp("photographs")
    random = np.random.default_rng(0)
    for i in range(NUM_FILES):
        file = folder / ("daisy" if i < 6 else "rose") / ("deep" if i % 3 else ".") / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (40 + i, 50, 3), np.uint8)
        Image.fromarray(pixels).save(file)
    broken = FolderSource(folder).files[BROKEN]
    (folder / broken).write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def workdir(tmp_path_factory) -> Path:
    """What a finished distill run leaves."""
    folder = tmp_path_factory.mktemp("run")
    tiny_run.write(folder, image_size=SIZE)
    return folder


class Toy:
    """The mean of each image's pixels, in place of a network; counts what it is given."""

    kind, image_size, sha256 = "toy", SIZE, "abc"

    def __init__(self):
        self.batches: list[int] = []

    def __call__(self, images, *, batch_size):
        self.batches.append(len(images))
        return images.mean(axis=(1, 2), dtype=np.float64).astype(np.float32)

    def check(self, *, image_size, batch_size):
        pass


@pytest.fixture
def toy(monkeypatch) -> Toy:
    network = Toy()
    monkeypatch.setattr(embedder, "load", lambda path: network)
    return network


def run(photographs: Path, out: Path, *more: str) -> int:
    arguments = ["embed", f"--data_dir={photographs}", f"--model={photographs}", f"--out={out}"]
    return main.main([*arguments, "--batch_size=2", *more])


def read(out: Path) -> dict[str, np.ndarray]:
    with np.load(out) as file:
        return dict(file)


def test_a_student_embeds_a_folder(photographs: Path, workdir: Path, tmp_path: Path, capsys):
    out = tmp_path / "made" / "out.npz"
    assert run(photographs, out, f"--model={workdir}", "--batch_size=4") == 0
    found = read(out)
    source = FolderSource(photographs)
    indices = [i for i in range(NUM_FILES) if i != BROKEN]
    assert found["names"].tolist() == [source.files[i] for i in indices]
    assert found["class_names"].tolist() == ["daisy", "rose"]
    expected = [int(source.files[i].startswith("rose")) for i in indices]
    assert found["labels"].tolist() == expected
    images = plain_images(source, image_size=SIZE, indices=indices)
    vectors = np.asarray(students.read(workdir).outputs(images)["embedding"])
    assert found["embeddings"].shape == (10, tiny_run.CHANNELS)
    np.testing.assert_allclose(found["embeddings"], vectors, rtol=1e-4, atol=1e-5)

    metadata = json.loads(str(found["metadata"]))
    assert metadata["model"] == str(workdir)
    assert metadata["model_kind"] == "student"
    assert metadata["image_size"] == SIZE
    assert metadata["batch_size"] == 4
    assert metadata["skipped"] == [source.files[BROKEN]]
    assert "tensorflow" in metadata["versions"]
    assert [path.name for path in out.parent.iterdir()] == ["out.npz"]
    printed = capsys.readouterr().out
    assert f"1 unreadable images left out: {source.files[BROKEN]}" in printed
    assert "of the time waiting for data" in printed


def test_what_is_left_out_is_told_and_kept(photographs: Path, toy: Toy, tmp_path: Path, capsys):
    copy = shutil.copytree(photographs, tmp_path / "photographs")
    for name in ("a.txt", "b.txt", "daisy/c.heic"):
        (copy / name).touch()
    assert run(copy, tmp_path / "out.npz") == 0
    assert "note      " + f"{copy}: left out: 2 .txt, 1 .heic" in capsys.readouterr().out
    metadata = json.loads(str(read(tmp_path / "out.npz")["metadata"]))
    assert metadata["left_out"] == {".txt": 2, ".heic": 1}


def test_more_pixels_than_are_allowed_are_unreadable(
    photographs: Path, toy: Toy, tmp_path: Path, monkeypatch
):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)  # set back afterwards
    assert run(photographs, tmp_path / "out.npz", "--max_pixels=2200") == 0
    assert len(read(tmp_path / "out.npz")["names"]) == 4  # of 40 x 50 to 50 x 50 pixels


def test_what_stands_at_out_is_refused_at_once(photographs: Path, toy: Toy, tmp_path: Path, capsys):
    (tmp_path / "out.npz").write_text("precious")
    assert run(photographs, tmp_path / "out.npz") == main.FAILED
    assert "expected a new file" in capsys.readouterr().err
    assert (tmp_path / "out.npz").read_text() == "precious"
    assert toy.batches == []


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_an_interrupted_run_goes_on_and_ends_the_same(
    photographs: Path, toy: Toy, tmp_path: Path, monkeypatch, suffix: str
):
    if suffix == ".parquet":
        parquet = pytest.importorskip("pyarrow.parquet", exc_type=ImportError)
    assert run(photographs, tmp_path / f"whole{suffix}") == 0
    assert toy.batches == [2, 2, 2, 2, 2, 1]

    def interrupt_after(count: int) -> None:
        toy.batches.clear()
        call = Toy.__call__

        def stopping(self, images, *, batch_size):
            if len(self.batches) == count - 1:
                signal.raise_signal(signal.SIGTERM)
            return call(self, images, batch_size=batch_size)

        monkeypatch.setattr(Toy, "__call__", stopping)
        assert run(photographs, tmp_path / f"out{suffix}") == 128 + signal.SIGTERM
        monkeypatch.setattr(Toy, "__call__", call)

    interrupt_after(2)
    interrupt_after(1)
    assert [path.name for path in tmp_path.glob("out*")] == [f"out{suffix}.partial"]
    toy.batches.clear()
    assert run(photographs, tmp_path / f"out{suffix}") == 0
    assert toy.batches == [2, 2, 1]  # six of eleven were kept
    assert not (tmp_path / f"out{suffix}.partial").exists()
    whole, resumed = tmp_path / f"whole{suffix}", tmp_path / f"out{suffix}"
    if suffix == ".npz":
        assert resumed.read_bytes() == whole.read_bytes()
    else:  # whose row groups are the parts
        assert parquet.read_table(resumed).equals(parquet.read_table(whole), check_metadata=True)


def test_a_killed_run_goes_on_from_its_last_part(
    photographs: Path, toy: Toy, tmp_path: Path, monkeypatch
):
    monkeypatch.setattr(embed, "IMAGES_PER_PART", 4)
    assert run(photographs, tmp_path / "whole.npz") == 0

    def killed(self, images, *, batch_size):
        if len(toy.batches) == 3:
            raise SystemExit
        return call(self, images, batch_size=batch_size)

    call = Toy.__call__
    toy.batches.clear()
    monkeypatch.setattr(Toy, "__call__", killed)
    with pytest.raises(SystemExit):
        run(photographs, tmp_path / "out.npz")
    monkeypatch.setattr(Toy, "__call__", call)
    toy.batches.clear()
    assert run(photographs, tmp_path / "out.npz") == 0
    assert sum(toy.batches) == NUM_FILES - 4
    assert (tmp_path / "out.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()


def test_parts_are_kept_by_time_as_well(photographs: Path, toy: Toy, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(embed, "SECONDS_PER_PART", 0.0)
    stops = []
    add = Parts.add

    def adding(self, stop, part):
        stops.append(stop)
        add(self, stop, part)

    monkeypatch.setattr(Parts, "add", adding)
    assert run(photographs, tmp_path / "out.npz") == 0
    assert stops == [2, 4, 6, 8, 10, 11]


def test_other_settings_do_not_go_on(
    photographs: Path, toy: Toy, tmp_path: Path, monkeypatch, capsys
):
    with monkeypatch.context() as patch:
        patch.setattr(Toy, "__call__", interrupted)
        assert run(photographs, tmp_path / "out.npz") == 130
    capsys.readouterr()
    assert run(photographs, tmp_path / "out.npz", "--image_size=64") == main.FAILED
    assert "image_size: 32 there, 64 now" in capsys.readouterr().err
    copy = shutil.copytree(photographs, tmp_path / "photographs")
    (copy / "rose" / "new.png").write_bytes((copy / "rose" / "9.png").read_bytes())
    assert run(copy, tmp_path / "out.npz") == main.FAILED
    assert "images_sha256: " in capsys.readouterr().err
    toy.batches.clear()
    assert run(photographs, tmp_path / "out.npz", "--batch_size=3") == 0  # as for less memory
    assert toy.batches == [3, 3, 3]  # after the two that were kept


def test_a_size_that_the_network_refuses_leaves_nothing_behind(
    photographs: Path, tmp_path: Path, monkeypatch, capsys
):
    @tf.function
    def function(images: tf.Tensor) -> tf.Tensor:
        if images.shape[1] % 16:
            raise ValueError("Expected a multiple of 16.\nAnd more.")
        return tf.reduce_mean(tf.cast(images, tf.float32), axis=(1, 2))

    network = embedder.Embedder("student", SIZE, "", function)
    monkeypatch.setattr(embedder, "load", lambda path: network)
    assert run(photographs, tmp_path / "out.npz", "--image_size=100") == main.FAILED
    (line,) = capsys.readouterr().err.splitlines()
    assert "100 x 100 pixels. Received: a student made for 32, which cannot: ValueError: " in line
    assert "Expected a multiple of 16. Give an --image_size" in line
    assert list(tmp_path.iterdir()) == []
    assert run(photographs, tmp_path / "out.npz") == 0


def test_what_a_network_is_fixed_to_is_the_default(photographs: Path, tmp_path: Path, monkeypatch):
    shapes = []

    def function(images: tf.Tensor) -> tf.Tensor:
        shapes.append(tuple(images.shape))
        return tf.reduce_mean(tf.cast(images, tf.float32), axis=(1, 2))

    network = embedder.Embedder("saved_model", 48, "", function, (3, 48, 48, 3))
    monkeypatch.setattr(embedder, "load", lambda path: network)
    out = tmp_path / "out.npz"
    arguments = [f"--data_dir={photographs}", f"--model={photographs}", f"--out={out}"]
    assert main.main(["embed", *arguments]) == 0
    assert set(shapes) == {(3, 48, 48, 3)}
    assert json.loads(str(read(out)["metadata"]))["batch_size"] == 3


def test_the_file_is_on_the_disk_before_the_parts_are_removed(
    photographs: Path, toy: Toy, tmp_path: Path, monkeypatch
):
    flushed = []
    monkeypatch.setattr(os, "fsync", lambda number: flushed.append(os.fstat(number).st_ino))
    remove = Parts.remove

    def removing(self):
        assert (tmp_path / "out.npz").stat().st_ino in flushed
        remove(self)

    monkeypatch.setattr(Parts, "remove", removing)
    assert run(photographs, tmp_path / "out.npz") == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out.npz"]


def interrupted(self, images, *, batch_size):
    signal.raise_signal(signal.SIGINT)
    return images.mean(axis=(1, 2)).astype(np.float32)


def test_both_files_hold_the_same(photographs: Path, toy: Toy, tmp_path: Path):
    parquet = pytest.importorskip("pyarrow.parquet", exc_type=ImportError)
    assert run(photographs, tmp_path / "out.npz") == 0
    assert run(photographs, tmp_path / "out.parquet") == 0
    npz, table = read(tmp_path / "out.npz"), parquet.read_table(tmp_path / "out.parquet")
    assert table["name"].to_pylist() == npz["names"].tolist()
    assert table["label"].to_pylist() == npz["labels"].tolist()
    vectors = np.array(table["embedding"].to_pylist(), np.float32)
    np.testing.assert_array_equal(vectors, npz["embeddings"])


def test_images_of_no_class_have_no_labels(photographs: Path, toy: Toy, tmp_path: Path):
    assert run(photographs / "rose", tmp_path / "out.npz") == 0
    assert set(read(tmp_path / "out.npz")) == {"embeddings", "names", "metadata"}


def test_a_folder_of_nothing_readable_is_an_error(toy: Toy, tmp_path: Path, capsys):
    (tmp_path / "photographs").mkdir()
    (tmp_path / "photographs" / "a.jpg").write_bytes(b"no image")
    assert run(tmp_path / "photographs", tmp_path / "out.npz") == main.FAILED
    assert "Expected an image that can be decoded" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["photographs"]


def test_embeddings_that_are_not_finite_stop_the_run(
    photographs: Path, toy: Toy, tmp_path: Path, monkeypatch, capsys
):
    monkeypatch.setattr(Toy, "__call__", lambda self, images, batch_size: np.full((2, 3), np.nan))
    assert run(photographs, tmp_path / "out.npz") == main.FAILED
    assert "Expected finite embeddings" in capsys.readouterr().err
    assert not (tmp_path / "out.npz").exists()


def test_what_is_no_model_is_named_before_anything_is_made(photographs, tmp_path, capsys):
    assert run(photographs, tmp_path / "out.npz") == main.FAILED
    assert "Expected the workdir of a finished distill run" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
