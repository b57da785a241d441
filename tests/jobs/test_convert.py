"""convert from the command line, in this process: a checkpoint in, a teacher's directory out."""

import json

import numpy as np
import pytest

import main
from pcd_tf import teachers
from pcd_tf.jobs import _conversion
from tests import goldens, small_teachers


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    small_teachers.patch(monkeypatch)
    monkeypatch.setattr(_conversion, "_SIZE", 32)


@pytest.fixture
def checkpoint(tmp_path):
    state, _ = goldens.load("moco_v3_resnet18")
    np.savez(tmp_path / "r-18.npz", **state)
    return tmp_path / "r-18.npz"


def convert(checkpoint, workdir, teacher="moco_v3_resnet18"):
    arguments = [f"--teacher={teacher}", f"--checkpoint={checkpoint}", f"--workdir={workdir}"]
    return main.main(["convert", *arguments])


def test_it_leaves_a_teacher_as_pretrain_does(checkpoint, tmp_path, capsys):
    workdir = tmp_path / "my run"
    assert convert(checkpoint, workdir) == 0
    assert {path.name for path in workdir.iterdir()} == {"config.json", "result.json", "teacher"}
    teacher = teachers.load(workdir / "teacher", "moco_v3_resnet18")
    _, expected = goldens.load("moco_v3_resnet18")
    received = teacher.backbone(goldens.images())
    assert goldens.relative_error(received, expected["map"]) < 1e-4
    config = json.loads((workdir / "config.json").read_text())
    assert config["job"] == "convert"
    assert config["settings"]["checkpoint"] == str(checkpoint)
    assert config["teacher_sha256"] == teacher.fingerprint()
    printed = capsys.readouterr().out
    assert f"Converts {checkpoint} to moco_v3_resnet18." in printed
    assert "48 arrays used; not used: base_encoder (58), num_batches_tracked (10)" in printed
    assert "of the backbone, 2,184 of the head, 4 channels of an embedding" in printed
    assert "(bound 0.01)" in printed
    expected = (
        "distill --dataset=folder --data_dir=PHOTOS "
        f"'--teacher_checkpoint={workdir / 'teacher'}' --workdir=DIR"
    )
    assert f"  next        python main.py {expected}\n" in printed


def test_a_workdir_that_holds_something_is_refused_before_anything_is_read(
    checkpoint, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(teachers, "convert", None)  # would fail when called
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("")
    assert convert(checkpoint, tmp_path / "run") == main.FAILED
    assert "Expected a new or empty directory" in capsys.readouterr().err


def test_a_finished_conversion_is_left_alone(checkpoint, tmp_path, capsys):
    assert convert(checkpoint, tmp_path / "run") == 0
    before = (tmp_path / "run" / "teacher" / "teacher.json").stat().st_mtime_ns
    assert convert(checkpoint, tmp_path / "run") == main.FAILED
    assert "is finished; it is left as it is" in capsys.readouterr().err
    assert (tmp_path / "run" / "teacher" / "teacher.json").stat().st_mtime_ns == before


def test_an_interrupted_conversion_is_done_again(checkpoint, tmp_path, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(teachers.Teacher, "save", stop)
        assert convert(checkpoint, tmp_path / "run") == 130
    assert not (tmp_path / "run" / "teacher").exists()
    assert convert(checkpoint, tmp_path / "run") == 0
    assert teachers.load(tmp_path / "run" / "teacher").name == "moco_v3_resnet18"


@pytest.mark.parametrize(
    ("teacher", "spoil", "message"),
    [
        ("moco_v3_resnet18", lambda path: path.write_bytes(path.read_bytes()[:-9]), "cut short"),
        ("moco_v3_resnet18", lambda path: path.unlink(), "which does not exist"),
        ("swav_resnet50", lambda path: None, "It looks like a file of moco_v3_resnet18 or"),
        ("moco_v3_resnet50", lambda path: None, "momentum_encoder.layer1.0.downsample.0.weight"),
    ],
)
def test_a_file_that_is_not_the_teachers_leaves_nothing(
    teacher, spoil, message, checkpoint, tmp_path, capsys
):
    spoil(checkpoint)
    assert convert(checkpoint, tmp_path / "run", teacher) == main.FAILED
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error
    assert not (tmp_path / "run").exists()


def test_a_head_that_does_not_keep_the_mean_is_refused(checkpoint, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(teachers.Teacher, "invariance_error", lambda *_: float("nan"))
    assert convert(checkpoint, tmp_path / "run") == main.FAILED
    assert "up to a relative error of 0.01. Received: an error of nan" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_distill_takes_the_file_itself(checkpoint, tmp_path, capsys, monkeypatch):
    taken = []

    def distiller(teacher, *_, **__):
        taken.append(teacher)
        raise KeyboardInterrupt  # the teacher is there; that is all

    monkeypatch.setattr("pcd_tf.jobs.distill.Distiller", distiller)
    arguments = [
        f"--teacher_checkpoint={checkpoint}",
        f"--workdir={tmp_path / 'student'}",
        "--dataset=synthetic",
        "--num_steps=1",
    ]
    assert main.main(["distill", *arguments]) == main.FAILED
    assert "teacher: expected the name of the teacher that the file" in capsys.readouterr().err
    assert main.main(["distill", "--teacher=moco_v3_resnet18", *arguments]) == 130
    assert "  invariance  " in capsys.readouterr().out
    (teacher,) = taken
    expected = teachers.convert("moco_v3_resnet18", checkpoint)
    assert teacher.fingerprint() == expected.fingerprint()
