"""A place that cannot be written to is told before a job begins."""

import os
from pathlib import Path

import pytest

import flags
from pcd_tf.configs._outputs import problem_of_output
from pcd_tf.errors import UserError

# By job, the flag of what it writes.
OUTPUTS = {
    "pretrain": "--workdir={}",
    "distill": "--workdir={}",
    "convert": "--workdir={}",
    "finetune": "--workdir={}",
    "compare": "--workdir={}",
    "export": "--out={}",
    "embed": "--out={}/x.npz",
    "prepare": "--workdir={}",
    "evaluate": "--out={}/x.json",
}


@pytest.fixture
def read_only(tmp_path, monkeypatch):
    """A directory that may not be written to, by root either."""
    (tmp_path / "locked").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "locked")
    return tmp_path / "locked"


@pytest.mark.parametrize("name", [".", "new", "new/and/deep"])
def test_a_directory_old_or_new_is_accepted(tmp_path, name):
    assert problem_of_output(tmp_path / name) is None


def test_a_relative_one_is_looked_for_where_the_job_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    assert problem_of_output("new/run") is None
    assert problem_of_output("file/run") == (
        f"expected a directory, old or new. Received a place in {tmp_path}/file, which is a file: "
        "file/run."
    )


def test_a_file_and_a_link_that_leads_nowhere_are_refused(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("gone")
    for name in ("file", "link"):
        assert "Received a file: " in str(problem_of_output(tmp_path / name))


@pytest.mark.parametrize("name", [".", "new/run"])
def test_a_directory_that_may_not_be_written_to_is_named(read_only, name):
    problem = problem_of_output(read_only / name)
    assert problem == (
        f"expected a directory that can be written to. Received: {read_only / name}, and "
        f"{read_only} is read-only for you. Name another."
    )


@pytest.mark.parametrize("job", flags.names())
def test_every_job_looks_at_what_it_writes(job, read_only):
    flag = OUTPUTS[job].format(read_only)
    config = flags.parse(flags.job(job), [flag])[0]
    with pytest.raises(UserError, match=rf"{flag[2:5]}\w*: expected a directory that can be wr"):
        config.validate()
