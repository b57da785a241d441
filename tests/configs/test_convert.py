"""What convert asks of its settings before anything is read."""

import pytest

from pcd_tf import teachers
from pcd_tf.configs.convert import Config


def test_a_checkpoint_and_a_new_workdir_are_accepted(tmp_path):
    for name in set(teachers.names()) - {"custom"}:
        Config(teacher=name, checkpoint="x.pth", workdir=str(tmp_path / "new")).validate()


def test_nothing_given_is_three_problems():
    with pytest.raises(
        ValueError, match=r"3 settings cannot work:\n  teacher: .*\n  checkpoint: .*\n  workdir: "
    ):
        Config().validate()


def test_an_unknown_teacher_gets_the_nearest():
    with pytest.raises(ValueError, match="teacher: .*Did you mean 'swav_resnet50'"):
        Config(teacher="swav_resnet", checkpoint="x.pth", workdir="x").validate()
    with pytest.raises(ValueError, match="teacher: .*Did you mean 'moco_v3_resnet50'"):
        Config(teacher="mocov3_resnet50", checkpoint="x.pth", workdir="x").validate()


def test_a_teacher_is_not_converted_again(tmp_path):
    (tmp_path / "teacher.json").write_text("{}")
    with pytest.raises(ValueError, match="checkpoint: .*a teacher already: hand it to distill"):
        Config(teacher="swav_resnet50", checkpoint=str(tmp_path), workdir="x").validate()


def test_a_file_is_no_workdir(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(ValueError, match=r"workdir: .*Received a file: .*file\."):
        Config(teacher="swav_resnet50", checkpoint="x.pth", workdir=str(file)).validate()
