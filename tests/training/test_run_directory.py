"""What a --workdir may be: new, the same run unfinished, and nothing else."""

import dataclasses
import json

import pytest

from pcd_tf.configs.distill import Config
from pcd_tf.errors import UserError
from pcd_tf.training import run_directory
from pcd_tf.training.run_directory import RunDirectory


def config(tmp_path, **settings):
    return Config(workdir=str(tmp_path / "run"), teacher_checkpoint="teacher", **settings)


def opened(tmp_path, job="distill", **settings):
    return RunDirectory(str(tmp_path / "run"), job, config(tmp_path, **settings))


def begun(tmp_path, job="distill", **facts):
    """A run that has logged its first step."""
    directory = opened(tmp_path, job)
    directory.create(**facts)
    directory.metrics.write_text('{"step": 1}\n')
    return directory


def snapshot(folder):
    """What a folder holds, but for who holds a lock and since when."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path: path.read_bytes() for path in files if path.name != ".lock"}


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


@pytest.mark.parametrize("left", [".config.json", ".lock"])
def test_what_a_kill_at_the_start_leaves_counts_as_new(tmp_path, left):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / left).write_text("{")
    opened(tmp_path).create()
    assert begun(tmp_path).metrics.is_file()


def test_a_run_that_reached_nothing_is_begun_anew_with_other_settings(tmp_path):
    opened(tmp_path).create(num_examples=3)
    for name in ("metrics.jsonl", "evaluations.jsonl"):
        (tmp_path / "run" / name).touch()  # as the loop does before its first step
    for folder in ("tensorboard", "pictures"):
        (tmp_path / "run" / folder).mkdir()
    for name in ("tensorboard/events.out", "pictures/batch.png", "pcd-tf-error-1.txt"):
        (tmp_path / "run" / name).write_text("of the first step")
    opened(tmp_path, seed=4).create(num_examples=7)
    content = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (content["job"], content["settings"]["seed"]) == ("distill", 4)
    assert content["num_examples"] == 7
    (tmp_path / "run" / "checkpoints").mkdir()
    (tmp_path / "run" / "checkpoints" / "step-2.index").write_text("of a step")
    with pytest.raises(UserError, match="seed: 4 there, 0 now"):
        opened(tmp_path)


def test_a_product_without_a_step_is_not_replaced(tmp_path):
    opened(tmp_path, job="convert").create()
    (tmp_path / "run" / "teacher").mkdir()
    (tmp_path / "run" / "teacher" / "teacher.json").write_text("{}")
    with pytest.raises(UserError, match="a convert run"):
        opened(tmp_path)
    with pytest.raises(UserError, match="seed: 0 there, 4 now"):
        opened(tmp_path, job="convert", seed=4)
    assert opened(tmp_path, job="convert").resumed


def test_another_job_is_refused_even_where_nothing_was_reached(tmp_path):
    opened(tmp_path, job="pretrain").create()
    with pytest.raises(UserError, match="a pretrain run"):
        opened(tmp_path)


def test_the_same_settings_resume_and_leave_the_config_alone(tmp_path):
    begun(tmp_path, mean=(1, 2, 3))
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
    begun(tmp_path, num_examples=7, teacher_sha256="a")
    before = snapshot(tmp_path)
    with pytest.raises(ValueError, match="teacher_sha256: 'a' there, 'b' now"):
        opened(tmp_path).create(num_examples=7, teacher_sha256="b")
    assert snapshot(tmp_path) == before


def test_a_fact_that_an_older_run_did_not_keep_is_not_compared(tmp_path):
    begun(tmp_path, num_examples=7)
    directory = opened(tmp_path)
    directory.create(num_examples=7, images_sha256="new")
    assert directory.resumed


def test_settings_of_how_it_runs_may_change(tmp_path):
    begun(tmp_path)
    changed = {
        "strategy": "mirrored",
        "num_virtual_devices": 2,
        "log_every_steps": 3,
        "checkpoint_every_steps": 7,
    }
    assert opened(tmp_path, **changed).resumed


def test_other_settings_are_named_and_nothing_is_touched(tmp_path):
    begun(tmp_path)
    before = snapshot(tmp_path)
    with pytest.raises(ValueError, match="is another one") as caught:
        opened(tmp_path, temperature=0.3, queue_size=8)
    text = str(caught.value)
    assert "temperature: 0.2 there, 0.3 now" in text
    assert "queue_size: 65536 there, 8 now" in text
    assert "student" not in text
    assert snapshot(tmp_path) == before


def test_another_job_is_refused(tmp_path):
    begun(tmp_path, job="pretrain")
    with pytest.raises(
        ValueError, match="Expected a distill run to resume. Received: .*a pretrain"
    ):
        opened(tmp_path)


def test_a_finished_run_is_left_alone(tmp_path):
    directory = opened(tmp_path)
    directory.create()
    directory.finish(last={"loss": 1.0})
    assert json.loads((tmp_path / "run" / "result.json").read_text()) == {"last": {"loss": 1.0}}
    assert {path.name for path in directory.path.iterdir()} == {"config.json", "result.json"}
    before = snapshot(tmp_path)
    with pytest.raises(ValueError, match="is finished; it is left as it is. Name another"):
        opened(tmp_path)
    assert snapshot(tmp_path) == before


def test_a_directory_of_something_else_is_refused(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match=r"holds something but no config\.json. Name another"):
        opened(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        '{"class_name": "ResNetBackbone"}',
        '{"job": "distill", "settings": 3}',
        "[]",
        "{broken",
        "",
        "\0" * 4096,
        "[" * 100_000,
    ],
)
def test_a_config_json_of_something_else_is_refused(tmp_path, content):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(content)
    with pytest.raises(UserError, match=r"Expected the config\.json of a run.*name another"):
        opened(tmp_path)


def test_no_revision_outside_a_checkout(tmp_path, monkeypatch):
    package = tmp_path / "site-packages" / "pcd_tf" / "training" / "run_directory.py"
    monkeypatch.setattr(run_directory, "__file__", str(package))
    assert run_directory._git_revision() is None


def test_a_run_from_before_a_setting_had_its_default(tmp_path):
    begun(tmp_path)
    path = tmp_path / "run" / "config.json"
    content = json.loads(path.read_text())
    del content["settings"]["map_size"]
    path.write_text(json.dumps(content))
    assert opened(tmp_path, map_size="student").resumed
    with pytest.raises(ValueError, match="map_size: 'student' there, 'teacher' now"):
        opened(tmp_path, map_size="teacher")
