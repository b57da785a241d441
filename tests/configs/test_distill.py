"""The defaults of distill are the published recipe; its teacher must be there."""

import pytest

from pcd_tf.configs.distill import Config


@pytest.fixture
def teacher(tmp_path):
    """What pretrain leaves behind, as far as the settings look at it."""
    directory = tmp_path / "run" / "teacher"
    directory.mkdir(parents=True)
    (directory / "teacher.json").write_text("{}")
    return directory


def test_defaults_are_published():
    config = Config(workdir="x", teacher_checkpoint="y")
    assert (config.student, config.mhsa, config.pairing) == ("resnet18", True, "same")
    assert (config.queue_size, config.temperature) == (65536, 0.2)
    assert (config.objective, config.teacher_head_gates) == ("pixel_contrastive", "mean")
    assert config.eval_every_epochs is None
    assert config.optimizer == "lars"
    assert (config.learning_rate, config.weight_decay) == (1.0, 1e-5)
    assert (config.global_batch_size, config.image_size) == (1024, 224)
    steps_per_epoch = 10
    assert config.total_steps(1024 * steps_per_epoch) == 100 * steps_per_epoch
    assert config.warmup_steps(1024 * steps_per_epoch) == 10 * steps_per_epoch


def test_a_teacher_directory_is_accepted(teacher):
    Config(workdir="x", teacher_checkpoint=str(teacher)).validate()
    Config(workdir="x", teacher_checkpoint=str(teacher), teacher="moco_v3_resnet18").validate()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"teacher": "moco_v3_resnet81"}, "teacher: expected one of .*Did you mean 'moco_v3_resn"),
        ({"student": "resnet"}, "student: expected one of .*resnet18"),
        ({"pairing": "align"}, "pairing: .*Did you mean 'aligned'"),
        ({"queue_size": 0}, "queue_size: expected a whole number, at least 1"),
        (
            {"temperature": 0.02},
            "temperature: .*at least 0.025, at most 100. Received: 0.02. .*underflows",
        ),
    ],
)
def test_a_bad_value_is_named(teacher, values, message):
    with pytest.raises(ValueError, match=message):
        Config(workdir="x", teacher_checkpoint=str(teacher), **values).validate()


def test_the_workdir_of_pretrain_leads_to_the_teacher_in_it(teacher):
    with pytest.raises(ValueError, match=f"Did you mean '{teacher}'"):
        Config(workdir="x", teacher_checkpoint=str(teacher.parent)).validate()


def test_a_directory_without_teacher_is_refused_with_the_remedy(tmp_path):
    with pytest.raises(ValueError, match="with teacher.json. .* Make a teacher with main.py pretr"):
        Config(workdir="x", teacher_checkpoint=str(tmp_path)).validate()


def test_a_file_needs_the_name_of_its_teacher(tmp_path):
    file = tmp_path / "r-50.pth.tar"
    file.write_text("")
    Config(workdir="x", teacher_checkpoint=str(file), teacher="moco_v3_resnet50").validate()
    with pytest.raises(
        ValueError, match=r"teacher: .*name of the teacher that the file holds.*One of"
    ):
        Config(workdir="x", teacher_checkpoint=str(file)).validate()


def test_problems_of_both_layers_are_named_at_once():
    with pytest.raises(ValueError, match="4 settings cannot work") as caught:
        Config(num_epochs=1, num_steps=1, temperature=0.0).validate()
    for name in ("teacher_checkpoint", "temperature", "workdir", "num_steps"):
        assert f"\n  {name}: " in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"student": "custom"}, "student_model: student=custom needs it"),
        ({"student_model": "own:build"}, "student_model: student=resnet18 has no use for it"),
        ({"student_pyramid": "P3=a"}, "student_pyramid: student=resnet18 has no use for it"),
        (
            {"student": "custom", "student_model": "own:build", "student_pyramid": "P3:a"},
            "student_pyramid: expected P3=LAYER,P4=LAYER and so on. Received: 'P3:a'",
        ),
        (
            {"student": "custom", "student_model": "own:build", "student_pyramid": "P3=a,P3=b"},
            "student_pyramid: expected one layer for each level. Received: 'P3=a,P3=b'",
        ),
        ({"student_init": "no/such"}, "student_init: expected random or an existing path"),
    ],
)
def test_what_does_not_fit_a_student_is_named(teacher, values, message):
    with pytest.raises(ValueError, match=message):
        Config(workdir="x", teacher_checkpoint=str(teacher), **values).validate()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"objective": "pixel"},
            "objective: expected one of feature_mse, image_contrastive, pixel",
        ),
        ({"teacher_head_gates": "plain"}, "teacher_head_gates: expected one of mean, pixel"),
        ({"eval_every_epochs": 0.0}, "eval_every_epochs: expected a number, above 0"),
        ({"eval_dir": "."}, "eval_dir: nothing is scored. Set eval_every_epochs too"),
        ({"early_stop_evals": 2}, "early_stop_evals: nothing is scored"),
        ({"eval_every_epochs": 1.0, "eval_dir": "/no/such"}, "eval_dir: expected an existing dir"),
    ],
)
def test_what_does_not_fit_an_objective_or_an_evaluation_is_named(teacher, values, message):
    with pytest.raises(ValueError, match=message):
        Config(workdir="x", teacher_checkpoint=str(teacher), **values).validate()


def test_the_options_of_a_student_are_those_of_the_users_own(teacher):
    config = Config(
        workdir="x",
        teacher_checkpoint=str(teacher),
        student="custom",
        student_model="own:build",
        student_pyramid="P3=block/a,P4=b",
        student_init=str(teacher),
        image_size=96,
    )
    config.validate()
    assert config.student_options == {
        "model": "own:build",
        "pyramid": {"P3": "block/a", "P4": "b"},
        "image_size": 96,
    }
    assert Config(workdir="x").student_options == {}
