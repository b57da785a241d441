"""What a --workdir may be: new, the same run unfinished, and nothing else."""

import dataclasses
import json

import pytest

from pcd_tf.configs.distill import Config
from pcd_tf.training import run_directory
from pcd_tf.training.run_directory import RunDirectory


def config(tmp_path, **settings):
    return Config(workdir=str(tmp_path / "run"), teacher_checkpoint="teacher", **settings)


def opened(tmp_path, job="distill", **settings):
    return RunDirectory(str(tmp_path / "run"), job, config(tmp_path, **settings))


def snapshot(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_opening_writes_nothing_and_creating_writes_the_config(tmp_path):
    directory = opened(tmp_path, seed=4)
    assert not directory.resumed
    assert not (tmp_path / "run").exists()
    directory.create(mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0))
    content = json.loads((tmp_path / "run" / "config.json").read_text())
    assert content["job"] == "distill"
    assert content["settings"] == dataclasses.asdict(config(tmp_path, seed=4))
    assert content["mean"] == [1.0, 2.0, 3.0]
    assert content["std"] == [4.0, 5.0, 6.0]
    assert {"tensorflow", "keras", "keras-hub", "keras-cv", "python"} < content["versions"].keys()
    assert "git_revision" in content
    assert directory.metrics.parent == directory.checkpoints.parent == tmp_path / "run"


def test_an_empty_directory_is_a_new_run(tmp_path):
    (tmp_path / "run").mkdir()
    assert not opened(tmp_path).resumed


def test_the_same_settings_resume_and_leave_the_config_alone(tmp_path):
    opened(tmp_path).create(mean=(1, 2, 3))
    before = snapshot(tmp_path)
    directory = opened(tmp_path)
    assert directory.resumed
    directory.create(mean=(1, 2, 3))
    assert snapshot(tmp_path) == before


def test_remarks_are_kept_and_do_not_decide(tmp_path):
    opened(tmp_path).create(remarks={"left_out": {".txt": 3}}, num_examples=7)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["left_out"] == {".txt": 3}
    opened(tmp_path).create(remarks={"left_out": {".txt": 4}}, num_examples=7)


def test_other_facts_are_refused_and_named(tmp_path):
    opened(tmp_path).create(num_examples=7, teacher_sha256="a")
    before = snapshot(tmp_path)
    with pytest.raises(ValueError, match="teacher_sha256: 'a' there, 'b' now"):
        opened(tmp_path).create(num_examples=7, teacher_sha256="b")
    assert snapshot(tmp_path) == before


def test_settings_of_how_it_runs_may_change(tmp_path):
    opened(tmp_path).create()
    changed = {
        "strategy": "mirrored",
        "num_virtual_devices": 2,
        "log_every_steps": 3,
        "checkpoint_every_steps": 7,
    }
    assert opened(tmp_path, **changed).resumed


def test_other_settings_are_named_and_nothing_is_touched(tmp_path):
    opened(tmp_path).create()
    before = snapshot(tmp_path)
    with pytest.raises(ValueError, match="is another one") as caught:
        opened(tmp_path, temperature=0.3, queue_size=8)
    text = str(caught.value)
    assert "temperature: 0.2 there, 0.3 now" in text
    assert "queue_size: 65536 there, 8 now" in text
    assert "student" not in text
    assert snapshot(tmp_path) == before


def test_another_job_is_refused(tmp_path):
    opened(tmp_path, job="pretrain").create()
    with pytest.raises(
        ValueError, match="Expected a distill run to resume. Received: .*a pretrain"
    ):
        opened(tmp_path)


def test_a_finished_run_is_left_alone(tmp_path):
    directory = opened(tmp_path)
    directory.create()
    directory.finish(last={"loss": 1.0})
    assert json.loads((tmp_path / "run" / "result.json").read_text()) == {"last": {"loss": 1.0}}
    before = snapshot(tmp_path)
    with pytest.raises(ValueError, match="is finished; it is left as it is. Name another"):
        opened(tmp_path)
    assert snapshot(tmp_path) == before


def test_a_directory_of_something_else_is_refused(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match=r"holds something but no config\.json. Name another"):
        opened(tmp_path)


@pytest.mark.parametrize("content", ['{"class_name": "ResNetBackbone"}', "[]", "{broken"])
def test_a_config_json_of_something_else_is_refused(tmp_path, content):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(content)
    with pytest.raises(ValueError, match=r"config\.json is not that of a run. Name another"):
        opened(tmp_path)


def test_no_revision_outside_a_checkout(tmp_path, monkeypatch):
    package = tmp_path / "site-packages" / "pcd_tf" / "training" / "run_directory.py"
    monkeypatch.setattr(run_directory, "__file__", str(package))
    assert run_directory._git_revision() is None


def test_a_run_from_before_a_setting_had_its_default(tmp_path):
    opened(tmp_path).create()
    path = tmp_path / "run" / "config.json"
    content = json.loads(path.read_text())
    del content["settings"]["map_size"]
    path.write_text(json.dumps(content))
    assert opened(tmp_path, map_size="student").resumed
    with pytest.raises(ValueError, match="map_size: 'student' there, 'teacher' now"):
        opened(tmp_path, map_size="teacher")
