"""The job evaluate from the command line: every probe, its JSON, and what it refuses."""

import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

import main
from pcd_tf import probes
from pcd_tf.data.synthetic import SyntheticSource
from pcd_tf.probes import linear_dense
from tests import tiny_run


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    tiny_run.write(folder, image_size=32)
    return folder


@pytest.fixture(scope="module")
def flowers(tmp_path_factory):
    """Red and blue images in class folders of two splits."""
    root = tmp_path_factory.mktemp("flowers")
    random = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 6)):
        for name, colour in (("poppy", (200, 40, 40)), ("violet", (60, 40, 200))):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                noise = random.integers(-30, 30, (36, 40, 3))
                pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    return root


def evaluate(*arguments):
    return main.main(["evaluate", "--image_size=32", "--batch_size=8", *arguments])


@pytest.mark.parametrize("probe", ["knn", "linear", "pixel_retrieval"])
def test_a_student_is_scored(probe, workdir, flowers, tmp_path, capsys):
    out = tmp_path / "scores.json"
    status = evaluate(
        f"--probe={probe}", f"--init={workdir}", f"--data_dir={flowers}", f"--out={out}"
    )
    assert status == 0
    written = json.loads(out.read_text())
    assert written["settings"]["probe"] == probe
    assert (written["init_kind"], written["num_eval"]) == ("student", 12)
    assert written["num_train"] == (None if probe == "pixel_retrieval" else 24)
    main_score = written["scores"][probes.load(probe).MAIN]
    if probe == "pixel_retrieval":
        assert 0 <= main_score <= 1
    else:
        assert main_score == 1.0  # the colours tell, even for random weights
    assert f"{probes.load(probe).MAIN} {main_score:.4g}" in capsys.readouterr().out
    assert evaluate(f"--init={workdir}", f"--data_dir={flowers}", f"--out={out}") == main.FAILED


def test_several_directories_each_have_the_splits(workdir, flowers, tmp_path, capsys):
    more = shutil.copytree(flowers, tmp_path / "more")
    (more / "train" / "notes.txt").touch()
    out = tmp_path / "scores.json"
    assert evaluate(f"--init={workdir}", f"--data_dir={flowers},{more}", f"--out={out}") == 0
    assert list(json.loads(out.read_text())["left_out"].values()) == [{".txt": 1}, {}]
    printed = capsys.readouterr().out
    assert "images    24 of" in printed
    assert "learns from 48 of" in printed
    assert "left out: 1 .txt" in printed


def test_maps_of_a_student_are_scored(workdir, tmp_path, monkeypatch):
    monkeypatch.setattr(linear_dense, "NUM_STEPS", 20)
    out = tmp_path / "scores.json"
    small = {**(SyntheticSource.__init__.__kwdefaults__ or {}), "num_examples": 8}
    monkeypatch.setattr(SyntheticSource.__init__, "__kwdefaults__", small)
    status = evaluate(
        "--probe=linear_dense", f"--init={workdir}", "--dataset=synthetic", f"--out={out}"
    )
    assert status == 0
    scores = json.loads(out.read_text())["scores"]
    assert 0 < scores["linear_dense_miou"] < scores["linear_dense_pixel_accuracy"] <= 1


def class_maps(root, **ids):
    """An image a split whose class map shows these ids; returns the directory."""
    for split, shown in ids.items():
        for folder in (split, f"{split}_sem"):
            (root / folder).mkdir(parents=True)
        rows = np.repeat(np.array(shown, np.uint8), 8)[:, None].repeat(8, axis=1)
        Image.fromarray(rows).convert("RGB").save(root / split / "0.png")
        Image.fromarray(rows).save(root / f"{split}_sem" / "0.png")
    return root


def test_what_does_not_fit_is_refused_before_anything_is_computed(
    workdir, flowers, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("pcd_tf.inits.load", lambda *_, **__: pytest.fail("too late"))
    other = tmp_path / "other"
    shutil.copytree(flowers, other)
    (other / "val" / "violet").rename(other / "val" / "rose")
    one = tmp_path / "one"
    shutil.copytree(flowers / "train" / "poppy", one / "train" / "poppy")
    shutil.copytree(flowers / "val" / "poppy", one / "val" / "poppy")
    (tmp_path / "empty" / "train").mkdir(parents=True)
    stray = shutil.copytree(flowers, tmp_path / "stray")
    shutil.copy(stray / "val" / "poppy" / "1.png", stray / "val")
    maps = ("--probe=linear_dense", "--dataset=png_maps")
    single = class_maps(tmp_path / "single", train=(0,), val=(0, 1))
    cases = [
        ((f"--data_dir={other}",), "violet only in .*; rose only in"),
        ((f"--data_dir={one}",), "two classes or more .* Received: no class folders"),
        ((f"--data_dir={tmp_path / 'empty'}",), "Expected images .* Received: none"),
        ((f"--data_dir={flowers}", "--eval_split=test"), "to be a directory of images"),
        ((f"--data_dir={flowers}", "--eval_split=train"), "other images than the probe learns"),
        ((f"--data_dir={stray}",), "no class folders; no classes: images .* \\(1: 1.png\\)"),
        ((*maps, f"--data_dir={single}"), "two classes or more in .*train.*: the ids 0 alone"),
        (("--dataset=synthetic",), "no class of their own"),
        ((f"--data_dir={flowers}", "--probe=linear_dense"), "linear_dense takes .*png_maps"),
    ]
    for arguments, message in cases:
        assert evaluate(f"--init={workdir}", *arguments) == main.FAILED
        error = capsys.readouterr().err
        assert re.search(message, error), error
