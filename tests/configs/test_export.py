"""What export asks of its directories."""

import pytest

from pcd_tf.configs.export import Config


@pytest.fixture
def run(tmp_path):
    """What a finished distill run leaves behind, as far as the settings look at it."""
    (tmp_path / "run" / "student").mkdir(parents=True)
    (tmp_path / "run" / "config.json").write_text("{}")
    return tmp_path / "run"


def test_a_finished_run_and_a_new_or_empty_directory_are_accepted(run, tmp_path):
    Config(workdir=str(run), out=str(tmp_path / "new")).validate()
    (tmp_path / "empty").mkdir()
    Config(workdir=str(run), out=str(tmp_path / "empty")).validate()


def test_a_run_without_student_is_refused(run, tmp_path):
    (run / "student").rmdir()
    with pytest.raises(ValueError, match=r"workdir: .*finished distill run.*without student\."):
        Config(workdir=str(run), out=str(tmp_path / "new")).validate()


def test_what_stands_at_out_is_not_overwritten(run):
    with pytest.raises(ValueError, match="out: expected a directory that is new or empty"):
        Config(workdir=str(run), out=str(run)).validate()
    with pytest.raises(ValueError, match="out: expected a directory that is new or empty"):
        Config(workdir=str(run), out=str(run / "config.json")).validate()


def test_nothing_given_is_two_problems():
    with pytest.raises(ValueError, match=r"2 settings cannot work:\n  workdir: .*\n  out: "):
        Config().validate()


def test_an_unknown_format_gets_the_nearest(run, tmp_path):
    with pytest.raises(ValueError, match="format: .*Did you mean 'saved_model'"):
        Config(workdir=str(run), out=str(tmp_path / "new"), format="savedmodel").validate()
