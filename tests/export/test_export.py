"""What every format keeps to: checked before it is there, whole or not there, described."""

import importlib
import json
import shutil

import keras
import numpy as np
import pytest

import export
from pcd_tf import students
from pcd_tf.configs.export import Config
from pcd_tf.errors import UserError


def config(workdir, out, name="saved_model", **settings):
    return Config(workdir=str(workdir), format=name, out=str(out), **settings)


def test_names():
    assert export.names() == ("keras_hub_preset", "litert", "onnx", "saved_model", "torchvision")


@pytest.mark.parametrize("name", export.names())
def test_a_format_is_written_checked_and_described(name, finished, tmp_path, capsys):
    export.run(config(finished, tmp_path / "out", name))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    description = json.loads((tmp_path / "out" / "pcd.json").read_text())
    assert description.pop("largest_relative_error") < 1e-5
    assert description.pop("largest_relative_mean_error") < 1e-5
    assert description.pop("smallest_cosine") > 1 - 1e-6
    own = {"litert": {"precision": "float32"}, "torchvision": {"naming": "torchvision"}}
    checked = description.pop("checked")
    sizes = [[40, 40]] if name == "litert" else [[40, 40], [25, 44]]
    assert checked["sizes"]
    for entrance, compared in checked["sizes"].items():
        assert compared == ([[40, 40]] if entrance == "encoded_images" else sizes)
    assert ("keras_hub_preset" in checked["sizes"]) == (name == "saved_model")
    assert checked["images"] == "3 of synthetic train, and a photograph"
    assert description == {
        "format": name,
        "input_shape": [1, 40, 40, 3] if name == "litert" else [None, None, None, 3],
        **own.get(name, {}),
        "allowed": {"tolerance": 1e-4, "cosine": 0.9999, "mean_error": 1e-3},
        "mean": [100.0, 110.0, 120.0],
        "std": [50.0, 60.0, 70.0],
        "image_size": 40,
        "channels": 32,
        "levels": {
            "P2": {"stride": 4, "channels": 64},
            "P3": {"stride": 8, "channels": 16},
            "P4": {"stride": 16, "channels": 16},
            "P5": {"stride": 32, "channels": 32},
        },
        "source": {
            "workdir": str(finished),
            "job": "distill",
            "settings": {"student": "toy", "image_size": 40, "dataset": "synthetic", "seed": 0},
            "versions": {"keras": "3"},
            "git_revision": "abc",
        },
    }
    printed = capsys.readouterr().out
    assert f"as {name} to" in printed
    assert "allowed 0.0001" in printed
    assert "with 3 of synthetic train, and a photograph" in printed


@pytest.mark.parametrize("name", ["litert", "saved_model"])
def test_an_export_that_is_not_the_student_is_refused(name, finished, tmp_path, monkeypatch):
    chosen = importlib.import_module(f"export.{name}")

    def slightly_off(order, _):
        def answer(images):
            outputs = dict(order.student.outputs(images))
            return {**outputs, "P3": outputs["P3"] * 1.001}

        return {"right": order.student.outputs, "wrong": answer}

    monkeypatch.setattr(chosen, "write", lambda *_: None)
    monkeypatch.setattr(chosen, "entrances", slightly_off)
    with pytest.raises(ValueError, match=r"0\.0001\. Received: P3 of wrong, at 40 x 40.*1\.0e-03"):
        export.run(config(finished, tmp_path / "out", name))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", export.names())
def test_an_error_while_writing_leaves_nothing(name, finished, tmp_path, monkeypatch):
    def half(_, directory):
        (directory / "half").touch()
        raise OSError("disk full")

    monkeypatch.setattr(f"export.{name}.write", half)
    with pytest.raises(OSError, match="disk full"):
        export.run(config(finished, tmp_path / "out", name))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["onnx", "litert"])
def test_a_missing_runtime_is_told_before_any_work(name, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UserError, match=rf"--format={name}\. .*Run: pip install '.*>="):
        export.run(config(tmp_path / "nowhere", tmp_path / "out", name))


def test_what_stands_at_out_is_kept(finished, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="Expected a new or empty directory"):
        export.run(config(finished, tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_unknown_format_gets_the_nearest(finished, tmp_path):
    with pytest.raises(ValueError, match="Received: 'savedmodel'. Did you mean 'saved_model'"):
        export.run(config(finished, tmp_path / "out", "savedmodel"))


def test_outputs_are_those_of_the_backbone_on_normalised_images(finished):
    student = students.read(finished)
    images = np.random.default_rng(0).integers(0, 256, (2, 33, 65, 3), "uint8")
    outputs = student.outputs(images)
    normalised = (images - np.array([100.0, 110.0, 120.0])) / np.array([50.0, 60.0, 70.0])
    expected = student.backbone(normalised.astype("float32"))
    np.testing.assert_allclose(outputs["feature_map"], expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(outputs["P5"], outputs["feature_map"])
    mean = np.mean(expected, axis=(1, 2))
    np.testing.assert_allclose(outputs["embedding"], mean, rtol=1e-4, atol=1e-4)
    assert {value.dtype.name for value in outputs.values()} == {"float32"}


def test_the_student_computes_in_float32_whatever_the_policy(finished):
    images = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), "uint8")
    expected = students.read(finished).outputs(images)
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        outputs = students.read(finished).outputs(images)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    for name, value in expected.items():
        assert outputs[name].dtype == "float32"
        np.testing.assert_array_equal(outputs[name], value)


@pytest.fixture
def run(finished, tmp_path):
    """A copy of the finished run, to spoil."""
    return shutil.copytree(finished, tmp_path / "run")


def test_a_run_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"Received: .*nowhere, which is no directory\."):
        students.read(tmp_path / "nowhere")


def test_a_directory_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"which has no config\.json\."):
        students.read(tmp_path)


def test_an_unfinished_run_is_refused(run):
    shutil.rmtree(run / "student")
    with pytest.raises(ValueError, match="Expected a finished distill run.*no student/ yet: run"):
        students.read(run)


def test_a_run_of_another_job_is_refused(run):
    change(run, job="pretrain")
    with pytest.raises(ValueError, match="of the job 'pretrain': export takes"):
        students.read(run)


def test_a_run_of_another_release_is_refused(run):
    change(run, settings={})
    with pytest.raises(ValueError, match=r"\.settings: .* missing required field image_size"):
        students.read(run)


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"job": "distill", "settings": 1, "mean": 1, "std": 1}']
)
def test_a_damaged_config_is_refused(run, text):
    (run / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"config\.json \(.*damaged or of something else"):
        students.read(run)


@pytest.mark.parametrize("name", ["config.json", "model.weights.h5"])
def test_a_damaged_student_is_refused(run, name):
    path = run / "student" / name
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="Expected .* KerasHub preset.*copy (it|or)"):
        students.read(run)


def change(run, **values):
    described = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**described, **values}))
