"""What a user's own teacher needs said of it, in every job that takes one in."""

import pytest

from pcd_tf.configs import convert, distill

OWN = {
    "teacher_map": "conv5",
    "teacher_head": "projector",
    "teacher_mean": "0,0,0",
    "teacher_std": " 1, 1.5 ,2",
}
JOBS = [
    (convert.Config, {"checkpoint": "model.keras"}),
    (distill.Config, {"teacher_checkpoint": "model.keras"}),
]


@pytest.mark.parametrize(("config_class", "values"), JOBS)
def test_the_teacher_is_told_what_was_given(config_class, values):
    config = config_class(workdir="x", teacher="custom", **values, **OWN)
    config.validate()
    assert config.teacher_options == {
        "feature_map": "conv5",
        "head": "projector",
        "mean": (0.0, 0.0, 0.0),
        "std": (1.0, 1.5, 2.0),
    }


def test_nothing_is_told_where_nothing_was_given():
    config = convert.Config(workdir="x", teacher="dinov2", checkpoint="dinov2_small")
    config.validate()
    assert config.teacher_options == {}


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize(("config_class", "values"), JOBS)
def test_a_published_teacher_has_no_use_for_them(config_class, values, name):
    config = config_class(workdir="x", teacher="swav_resnet50", **values, **{name: OWN[name]})
    with pytest.raises(ValueError, match=f"{name}: only .* teacher=swav_resnet50. Set teacher to"):
        config.validate()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"teacher_mean": "1,2"},
            "teacher_mean: expected three numbers of -1000 to 1000 with .*: '1,2'",
        ),
        ({"teacher_mean": "red,2,3"}, "teacher_mean: expected three numbers of"),
        ({"teacher_mean": "1,2,inf"}, "teacher_mean: expected three numbers of"),
        ({"teacher_std": "1,0,1"}, "teacher_std: expected three numbers of 0.001 to 1000 with"),
    ],
)
def test_what_is_no_normalisation_is_refused(values, message):
    config = convert.Config(workdir="x", teacher="custom", checkpoint="model.keras", **values)
    with pytest.raises(ValueError, match=message):
        config.validate()


def test_a_teachers_directory_knows_its_own(tmp_path):
    (tmp_path / "teacher.json").write_text("{}")
    config = distill.Config(
        workdir="x", teacher="custom", teacher_checkpoint=str(tmp_path), teacher_std="1,1,1"
    )
    with pytest.raises(ValueError, match="teacher_std: .* is a teacher already, which knows"):
        config.validate()


def test_the_map_keeps_the_students_size_by_default():
    assert distill.Config(workdir="x").map_size == "student"
    with pytest.raises(ValueError, match="map_size: expected one of student, teacher"):
        distill.Config(workdir="x", map_size="larger").validate()
