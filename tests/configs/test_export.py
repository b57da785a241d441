"""What export asks of its directories, and which settings are for which format."""

from typing import Any

import pytest

import export
from pcd_tf.configs.export import _FORMATS_OF, Config

GIVEN: dict[str, Any] = {
    "image_size": "64",
    "batch_size": 2,
    "precision": "int8",
    "naming": "detectron2",
}


@pytest.fixture
def run(tmp_path):
    """What a finished distill run leaves behind, as far as the settings look at it."""
    (tmp_path / "run" / "student").mkdir(parents=True)
    (tmp_path / "run" / "config.json").write_text("{}")
    return tmp_path / "run"


@pytest.fixture
def paths(run, tmp_path):
    return {"workdir": str(run), "out": str(tmp_path / "new")}


def test_a_finished_run_and_a_new_or_empty_directory_are_accepted(run, tmp_path):
    Config(workdir=str(run), out=str(tmp_path / "new")).validate()
    (tmp_path / "empty").mkdir()
    Config(workdir=str(run), out=str(tmp_path / "empty")).validate()


def test_a_run_without_student_is_refused(run, paths):
    (run / "student").rmdir()
    with pytest.raises(ValueError, match=r"workdir: .*finished distill run.*without student\."):
        Config(**paths).validate()


def test_what_stands_at_out_is_not_overwritten(run):
    with pytest.raises(ValueError, match="out: expected a directory that is new or empty"):
        Config(workdir=str(run), out=str(run)).validate()
    with pytest.raises(ValueError, match="out: expected a directory that is new or empty"):
        Config(workdir=str(run), out=str(run / "config.json")).validate()


def test_nothing_given_is_two_problems():
    with pytest.raises(ValueError, match=r"2 settings cannot work:\n  workdir: .*\n  out: "):
        Config().validate()


def test_an_unknown_format_gets_the_nearest(paths):
    with pytest.raises(ValueError, match="format: .*Did you mean 'saved_model'"):
        Config(**paths, format="savedmodel").validate()


def test_an_unknown_choice_gets_the_nearest(paths):
    with pytest.raises(ValueError, match="naming: .*Did you mean 'detectron2'"):
        Config(**paths, format="torchvision", naming="detectron").validate()
    with pytest.raises(ValueError, match="precision: .*Did you mean 'float16'"):
        Config(**paths, format="litert", precision="float15").validate()


@pytest.mark.parametrize("name", export.names())
@pytest.mark.parametrize("setting", GIVEN)
def test_a_setting_that_the_format_has_no_use_for_is_refused(name, setting, paths):
    config = Config(**paths, format=name, **{setting: GIVEN[setting]})
    if name in _FORMATS_OF[setting]:
        config.validate()
        return
    with pytest.raises(ValueError, match=rf"{setting}: it is for .*--format={name}.*leave it out"):
        config.validate()


def test_every_format_of_a_setting_is_there():
    assert {name for formats in _FORMATS_OF.values() for name in formats} <= set(export.names())


@pytest.mark.parametrize(
    ("text", "size"), [("64", (64, 64)), ("48x8192", (48, 8192)), (None, None)]
)
def test_sizes(text, size):
    assert Config(image_size=text).size == size


@pytest.mark.parametrize(
    "text",
    [
        *("0", "64x", "x64", "64x0", "64X32", "-3", "64.0", "large", "064", "\u0663\u0662"),
        *("8193", "64x99999", "9" * 400, "9" * 3000),
    ],
)
def test_other_sizes_are_refused(text, paths):
    with pytest.raises(ValueError, match="  image_size: expected pixels a side.*HEIGHTxWIDTH"):
        Config(**paths, image_size=text).validate()


def test_a_folder_that_is_not_there_is_refused(paths, tmp_path):
    with pytest.raises(ValueError, match="data_dir: expected a folder of images"):
        Config(**paths, data_dir=str(tmp_path / "nowhere")).validate()
