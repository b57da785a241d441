"""Distilled from the command line, a student of any kind can be read with its pyramid."""

import json

import keras
import keras_hub
import numpy as np
import pytest
from keras import layers

import main
from pcd_tf import students, teachers
from pcd_tf.students import mobilenet_v3_small
from pcd_tf.students._mobilenet_v3 import Row
from pcd_tf.teachers import Teacher
from tests import toys
from tests.students import networks

OWN = ("--student=custom", "--student_model=tests.students.networks:classifier")

NARROW = (
    Row(3, 16, 8, True, "relu", 2),
    Row(5, 24, 8, True, "hard_swish", 2),
    Row(3, 24, 16, False, "hard_swish", 2),
    Row(3, 32, 24, False, "relu", 2),
)


@pytest.fixture
def distil(tmp_path, monkeypatch):
    """Runs the job with a toy teacher of stride 32."""
    images = keras.Input((None, None, 3))
    backbone = keras.Model(images, layers.Conv2D(8, 3, strides=32, padding="same")(images))
    teacher = Teacher("toy", backbone, toys.teacher().head, toys.MEAN, toys.STD)
    monkeypatch.setattr(teachers, "load", lambda *args, **options: teacher)
    (tmp_path / "teacher.json").write_text("{}")

    def run(*more, workdir=tmp_path / "run"):
        status = main.main(
            [
                "distill",
                f"--teacher_checkpoint={tmp_path}",
                f"--workdir={workdir}",
                "--queue_size=8",
                "--image_size=32",
                "--global_batch_size=2",
                "--num_steps=2",
                "--log_every_steps=1",
                *more,
            ]
        )
        return status, workdir

    return run


def assert_read(workdir, strides):
    student = students.read(workdir)
    maps = student.outputs(np.zeros((1, 64, 96, 3), "uint8"))
    assert maps.keys() == {"embedding", "feature_map", *strides}
    for level, stride in strides.items():
        assert tuple(maps[level].shape[1:3]) == (64 // stride, 96 // stride)
        assert student.description()["levels"][level]["stride"] == stride
    assert np.isfinite(maps["embedding"]).all()
    return student


def test_a_mobilenet(distil, monkeypatch):
    """With narrow blocks in place of its own, for time."""
    monkeypatch.setattr(mobilenet_v3_small, "_ROWS", NARROW)
    status, workdir = distil("--student=mobilenet_v3_small")
    assert status == 0
    student = assert_read(workdir, {"P2": 4, "P3": 8, "P4": 16, "P5": 32})
    assert isinstance(student.backbone, keras_hub.models.MobileNetBackbone)
    assert student.description()["channels"] == 6 * NARROW[-1].filters


def test_a_users_own_from_weights_of_its_own(distil, tmp_path):
    start = networks.encoder()
    toys.scramble(start.weights, seed=1)
    start.save(tmp_path / "start.keras")
    status, workdir = distil(
        *OWN,
        "--student_pyramid=P3=stage2,P5=stage4",
        f"--student_init={tmp_path / 'start.keras'}",
        "--learning_rate=1e-9",
    )
    assert status == 0
    student = assert_read(workdir, {"P3": 8, "P5": 32})
    for one, two in zip(student.backbone.trainable_weights, start.trainable_weights, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-6)
    config = json.loads((workdir / "config.json").read_text())
    assert config["settings"]["student_init"] == str(tmp_path / "start.keras")
    assert len(config["student_init_sha256"]) == 64


def test_a_start_that_does_not_fit_is_refused_before_anything_is_made(distil, tmp_path, capsys):
    keras.Sequential([keras.Input((8,)), layers.Dense(2)]).save(tmp_path / "o.keras")
    status, workdir = distil(*OWN, f"--student_init={tmp_path / 'o.keras'}")
    assert status == main.FAILED
    assert "Expected a model of one input, images" in capsys.readouterr().err
    assert not workdir.exists()
