"""The jobs from the command line, in this process: pretrain -> distill -> export, and errors."""

import json

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import main
from pcd_tf import data, models, students, teachers

SHORT = (
    "--image_size=32",
    "--global_batch_size=4",
    "--num_steps=3",
    "--log_every_steps=1",
    "--learning_rate=1",
)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Three readable images and one that is none."""
    folder = tmp_path_factory.mktemp("photographs")
    source = data.build("synthetic", seed=1)
    for i in range(3):
        source.open(i, i).resize((48, 40)).save(folder / f"{i}.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff no image")
    (folder / "notes.txt").touch()
    return folder


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory, photographs):
    """Workdir of a finished pretrain run on a folder with an unreadable file."""
    workdir = tmp_path_factory.mktemp("runs") / "teacher"
    status = main.main(
        [
            "pretrain",
            "--teacher=moco_v3_resnet18",
            "--dataset=folder",
            f"--data_dir={photographs}",
            f"--workdir={workdir}",
            *SHORT,
            "--global_batch_size=2",
            "--num_steps=2",
        ]
    )
    assert status == 0
    return workdir


@pytest.fixture(scope="module")
def distilled(tmp_path_factory, pretrained):
    """Workdir of a finished distill run, and the model that it trained."""
    workdir = tmp_path_factory.mktemp("runs") / "student"
    made = []
    build = models.Distiller.__init__

    def keep(self, *args, **kwargs):
        made.append(self)
        build(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models.Distiller, "__init__", keep)
        status = main.main(distill(pretrained, workdir, "--precision=mixed_bfloat16"))
    assert status == 0
    (model,) = made
    return workdir, model


def distill(pretrained, workdir, *more):
    return [
        "distill",
        "--dataset=synthetic",
        f"--teacher_checkpoint={pretrained / 'teacher'}",
        f"--workdir={workdir}",
        "--queue_size=16",
        *SHORT,
        *more,
    ]


def names_in(workdir):
    return {path.name for path in workdir.iterdir()}


def lines_of(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def assert_pictures(workdir, *more):
    names = ("batch.png", "curves.png", "principal_components.png", "similarity.png", *more)
    assert names_in(workdir / "pictures") == set(names)
    for name in names:
        with Image.open(workdir / "pictures" / name) as image:
            assert np.asarray(image.convert("L")).std() > 5


def assert_result_is_the_last(workdir):
    """A run that is killed before its last file is written is not taken for a finished one."""
    files = [path for path in workdir.rglob("*") if path.is_file()]
    assert max(files, key=lambda path: path.stat().st_mtime_ns).name == "result.json"


def test_pretrain_leaves_a_teacher_and_counts_what_it_could_not_read(pretrained):
    assert names_in(pretrained) == {
        "checkpoints",
        "config.json",
        "metrics.jsonl",
        "pictures",
        "result.json",
        "teacher",
        "tensorboard",
    }
    config = json.loads((pretrained / "config.json").read_text())
    assert config["left_out"] == {".txt": 1}
    assert config["job"] == "pretrain"
    assert config["settings"]["teacher"] == "moco_v3_resnet18"
    result = json.loads((pretrained / "result.json").read_text())
    assert result["num_skipped"] == 1
    assert [line["step"] for line in lines_of(pretrained)] == [1, 2]
    assert result["first"] == lines_of(pretrained)[0]
    assert_pictures(pretrained)
    assert_result_is_the_last(pretrained)
    names = data.build("folder", data_dir=config["settings"]["data_dir"])
    assert data.identity(names).items() <= config.items()

    teacher = teachers.load(pretrained / "teacher", "moco_v3_resnet18")
    assert teacher.origin == "main.py pretrain, 2 steps on " + config["settings"]["data_dir"]
    assert list(teacher.mean) == config["mean"]
    assert list(teacher.std) == config["std"]
    assert teacher(np.zeros((1, 64, 64, 3), "float32")).shape == (1, 2, 2, 256)
    moved = [w for w in teacher.backbone.weights if w.name == "moving_mean"]
    assert all(np.abs(np.array(w)).max() > 0 for w in moved)  # the momentum encoder was trained
    scales = {w.path: float(np.mean(w)) for w in teacher.backbone.weights if w.name == "gamma"}
    first = {path: 0.0 if "_2_bn" in path else 1.0 for path in scales}  # the last of a block at 0
    assert scales == pytest.approx(first, abs=0.2)


def test_distill_leaves_a_student_that_is_the_models_backbone(distilled):
    workdir, model = distilled
    assert names_in(workdir) == {
        "checkpoints",
        "config.json",
        "metrics.jsonl",
        "pictures",
        "result.json",
        "student",
        "tensorboard",
    }
    result = json.loads((workdir / "result.json").read_text())
    assert result["num_skipped"] == 0
    lines = lines_of(workdir)
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert result["last"] == lines[-1]
    expected = {"loss", "retrieval_top1", "positive_cosine", "feature_spread", "learning_rate"}
    assert expected <= lines[0].keys()
    assert all(0 <= line["data_wait"] <= 1 for line in lines)
    assert_pictures(workdir, "receptive_field.png")
    assert_result_is_the_last(workdir)
    config = json.loads((workdir / "config.json").read_text())
    assert data.identity(data.build("synthetic")).items() <= config.items()

    student = keras_hub.models.Backbone.from_preset(str(workdir / "student"), dtype="float32")
    for saved, trained in zip(student.weights, model.backbone.weights, strict=True):
        np.testing.assert_array_equal(saved, trained)
    assert model.backbone.compute_dtype == "bfloat16"


def test_the_saved_student_is_float32_however_it_was_trained(distilled):
    workdir, _ = distilled
    student = keras_hub.models.Backbone.from_preset(str(workdir / "student"))
    assert {layer.compute_dtype for layer in student.layers} == {"float32"}


def test_the_teacher_on_disk_is_the_one_that_taught(pretrained, distilled):
    _, model = distilled
    saved = teachers.load(pretrained / "teacher")
    for used, kept in zip(model.teacher.weights, saved.weights, strict=True):
        np.testing.assert_array_equal(used, kept)


def test_a_finished_run_is_not_repeated(pretrained, distilled, capsys):
    workdir, _ = distilled
    assert main.main(distill(pretrained, workdir, "--precision=mixed_bfloat16")) == main.FAILED
    assert "is finished; it is left as it is" in capsys.readouterr().err


def test_export_gives_what_the_student_gives(distilled, tmp_path):
    workdir, _ = distilled
    out = tmp_path / "saved_model"
    arguments = ["export", f"--workdir={workdir}", "--format=saved_model", f"--out={out}"]
    assert main.main(arguments) == 0
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), np.uint8)
    exported = tf.saved_model.load(str(out)).signatures["serving_default"](
        images=tf.constant(images)
    )
    config = json.loads((workdir / "config.json").read_text())
    student = keras_hub.models.Backbone.from_preset(str(workdir / "student"), dtype="float32")
    normalised = (images - np.array(config["mean"])) / np.array(config["std"])
    expected = np.array(student(normalised.astype("float32")))
    assert expected.shape == (2, 2, 3, 512)
    np.testing.assert_allclose(exported["feature_map"], expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(exported["embedding"], expected.mean((1, 2)), rtol=1e-3, atol=1e-4)


# Errors come before anything is made


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--teacher_checkpoint={tmp}"], "with teacher.json"),
        (["--teacher_checkpoint={run}"], "Did you mean"),
        (["--teacher=moco_v3_resnet50"], "Expected the teacher moco_v3_resnet50"),
        (["--dataset=folder", "--data_dir={photographs}", "--global_batch_size=8"], "Received: 4"),
        (["--dataset=folder", "--data_dir={tmp}"], "Received: none"),
        (["--warmup_epochs=50"], "a warm-up shorter than the run of 3 steps"),
        (["--num_virtual_devices=2", "--global_batch_size=2"], "two images each at least"),
        (["--image_size=33", "--pairing=near"], "2 settings cannot work"),
    ],
    ids=["no teacher", "its run", "other teacher", "few", "none", "warm-up", "batch", "two"],
)
def test_what_cannot_work_is_refused_before_anything_is_made(
    pretrained, photographs, tmp_path, capsys, more, message
):
    (tmp_path / "empty").mkdir()
    fill = {"tmp": tmp_path / "empty", "run": pretrained, "photographs": photographs}
    workdir = tmp_path / "run"
    arguments = distill(pretrained, workdir, *(text.format(**fill) for text in more))
    assert main.main(arguments) == main.FAILED
    assert message in capsys.readouterr().err
    assert not workdir.exists()


def test_the_two_jobs_run_mirrored_in_one_process(pretrained, tmp_path, monkeypatch):
    """With toys in place of the networks, for time."""
    from tests import toys

    monkeypatch.setattr(students, "build", lambda name: toys.backbone(16))
    monkeypatch.setattr(teachers, "load", lambda directory, name=None: toys.teacher())
    monkeypatch.setattr(keras.Model, "save_to_preset", lambda self, path: None, raising=False)
    for pairing in ("same", "aligned"):
        arguments = distill(
            pretrained, tmp_path / pairing, "--num_virtual_devices=2", f"--pairing={pairing}"
        )
        assert main.main(arguments) == 0
        assert len(lines_of(tmp_path / pairing)) == 3
        assert_pictures(tmp_path / pairing, "receptive_field.png")
