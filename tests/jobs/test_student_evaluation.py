"""Scores while a student is distilled: they change nothing, and the best student is kept."""

import json
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image

from pcd_tf import data, students
from pcd_tf.configs.distill import Config
from pcd_tf.data.synthetic import SyntheticSource
from pcd_tf.errors import UserError
from pcd_tf.jobs import _training as training
from pcd_tf.jobs._student_evaluation import StudentEvaluation
from pcd_tf.training import devices, optimizer
from pcd_tf.training import logs as run_logs
from pcd_tf.training.run_directory import RunDirectory
from tests import toys

SOURCE = SyntheticSource(num_examples=8, image_size=40)
BEST = "pixel_retrieval_top1"


def settings(workdir, **changed):
    given: dict[str, Any] = {
        "workdir": str(workdir),
        "teacher_checkpoint": "toy",
        "image_size": 32,
        "global_batch_size": 4,
        "num_steps": 6,
        "learning_rate": 1.0,
        "optimizer": "sgd",
        "queue_size": 20,
        "log_every_steps": 1,
        "eval_every_epochs": 1.0,
        "eval_dir": str(workdir),
    }
    return Config(**given | changed)


class Drift(keras.Model):
    """Stands for the Distiller: its backbone moves by an amount that depends on the batch."""

    def __init__(self):
        super().__init__()
        self.backbone = toys.backbone(8)
        self.built = True

    def train_step(self, batch):
        step = keras.ops.mean(keras.ops.cast(batch["images"], "float32")) / 255
        variables = self.backbone.trainable_variables
        self.optimizer.apply_gradients((step * keras.ops.ones_like(v), v) for v in variables)
        return {"loss": step, "retrieval_top1": step, "feature_spread": step}


class Run:
    """One run: the same at each call, but for its scores where they are given."""

    def __init__(self, config, source=SOURCE, scores=None):
        keras.utils.set_random_seed(0)
        with devices.strategy("one_device").scope():
            self.model = Drift()
            self.model.compile(optimizer.build(config, source.num_examples), jit_compile=False)
        self.directory = RunDirectory(config.workdir, "distill", config)
        self.evaluation: Any = None
        self.source, self.config = source, config
        self.weights: dict[int, Any] = {}
        if config.eval_every_epochs is not None:
            self.evaluation = StudentEvaluation(
                config, self.model.backbone, toys.teacher(), source, self.directory
            )
            if scores is not None:
                self.evaluation._scores = self._given(scores)

    def _given(self, scores):
        def next_score():
            step = int(self.model.optimizer.iterations)
            self.weights[step] = self.model.backbone.get_weights()
            return {BEST: scores[step], "other": 1.0}

        return next_score

    def fit(self):
        self.directory.create(mean=toys.MEAN, std=toys.STD)
        return training.fit(
            self.model, self.source, data.BYOL, self.config, self.directory, self.evaluation
        )


def stopped_at_5(self, waited, advance=run_logs.Logs.advance):
    """Stands for Logs.advance."""
    advance(self, waited)
    if self._bar.n == 5:
        raise KeyboardInterrupt


def evaluated(workdir):
    return [json.loads(line) for line in (workdir / "evaluations.jsonl").read_text().splitlines()]


def assert_is(student, weights):
    for value, expected in zip(student.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(value, expected)


@pytest.fixture
def images(tmp_path):
    """Three folders: unlabelled images, classes, and two splits of classes."""
    for folder in (
        "plain",
        "classes/a",
        "classes/b",
        *(f"splits/{s}/{c}" for s in ("train", "val") for c in "ab"),
    ):
        (tmp_path / folder).mkdir(parents=True)
        for i in range(6):
            SOURCE.open(i, i).save(tmp_path / folder / f"{i}.png")
    return tmp_path


def test_scoring_changes_nothing_of_the_training(tmp_path, images):
    plain = Run(settings(tmp_path / "plain_run", eval_every_epochs=None, eval_dir=None))
    expected = plain.fit()
    run = Run(settings(tmp_path / "run", eval_dir=str(images / "splits")))
    assert run.evaluation.every == 2
    assert run.evaluation.metric == "knn_top1"
    lines = run.fit()
    assert [line["loss"] for line in lines] == [line["loss"] for line in expected]
    for one, two in zip(plain.model.weights, run.model.weights, strict=True):
        np.testing.assert_array_equal(np.array(one), np.array(two))
    found = evaluated(tmp_path / "run")
    assert [line["step"] for line in found] == [2, 4, 6]
    assert all({"knn_top1", "knn_chance", BEST} <= line.keys() for line in found)
    assert len({line[BEST] for line in found}) > 1  # the student as it was at each step


def test_the_best_student_is_the_product(tmp_path, images, capsys):
    config = settings(tmp_path / "run", eval_dir=str(images / "plain"))
    run = Run(config, scores={2: 0.1, 4: 0.5, 6: 0.5})
    run.fit()
    assert run.evaluation.keep_best() == {
        "metric": BEST,
        "step": 4,
        "value": 0.5,
        "images": str(images / "plain"),
    }
    assert_is(students.load(tmp_path / "run" / "student"), run.weights[4])
    assert not (tmp_path / "run" / "best_student").exists()
    with Image.open(tmp_path / "run" / "pictures" / "evaluations.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 5
    run.evaluation.keep_best()  # the run was stopped before result.json was written
    assert_is(students.load(tmp_path / "run" / "student"), run.weights[4])
    assert f"Step 4: {BEST} 0.5 (the best so far)" in capsys.readouterr().out


def test_a_run_ends_early_and_does_so_again_when_resumed(tmp_path, images):
    config = settings(
        tmp_path / "run", eval_dir=str(images / "plain"), early_stop_evals=2, num_steps=20
    )
    scores = {2: 0.1, 4: 0.5, 6: 0.4, 8: 0.3, 10: 0.9}
    run = Run(config, scores=scores)
    assert run.fit()[-1]["step"] == 8
    again = Run(config, scores=scores)
    assert again.fit()[-1]["step"] == 8
    assert again.weights == {}  # nothing is scored twice
    assert again.evaluation.keep_best()["step"] == 4
    assert_is(students.load(tmp_path / "run" / "student"), run.weights[4])


def test_a_resumed_run_keeps_the_best_of_its_first_part(tmp_path, images, monkeypatch):
    config = settings(tmp_path / "run", eval_dir=str(images / "plain"))
    scores = {2: 0.1, 4: 0.5, 6: 0.3}
    first = Run(config, scores=scores)
    with monkeypatch.context() as patch:
        patch.setattr(run_logs.Logs, "advance", stopped_at_5)
        with pytest.raises(KeyboardInterrupt):
            first.fit()
    second = Run(config, scores=scores)
    second.fit()
    assert (sorted(first.weights), sorted(second.weights)) == ([2, 4], [6])
    assert [line["step"] for line in evaluated(tmp_path / "run")] == [2, 4, 6]
    assert second.evaluation.keep_best()["step"] == 4
    assert_is(students.load(tmp_path / "run" / "student"), first.weights[4])


@pytest.mark.parametrize(("first", "best"), [(0.1, 4), (0.5, 2)])
def test_a_best_student_after_the_last_whole_checkpoint_is_found_anew(
    tmp_path, images, monkeypatch, first, best
):
    """Its step is trained again, and may come out otherwise; what was best before it is gone."""
    config = settings(tmp_path / "run", eval_dir=str(images / "plain"))
    with monkeypatch.context() as patch:
        patch.setattr(run_logs.Logs, "advance", stopped_at_5)
        with pytest.raises(KeyboardInterrupt):
            Run(config, scores={2: first, 4: 0.6}).fit()
    (tmp_path / "run" / "checkpoints" / "step-4.index").write_bytes(b"")
    run = Run(config, scores={2: first, 4: 0.4, 6: 0.3})
    run.fit()
    assert sorted(run.weights) == [2, 4, 6]
    assert run.evaluation.keep_best()["step"] == best
    student = tmp_path / "run" / "student"
    assert_is(students.load(student), run.weights[best])
    assert not (student / "step.txt").exists()


def test_a_run_that_died_while_scoring_scores_that_step_when_resumed(tmp_path, images):
    config = settings(tmp_path / "run", eval_dir=str(images / "plain"))
    died = Run(config, scores={2: 0.1, 4: 0.5})  # no score at 6: a KeyError
    with pytest.raises(KeyError):
        died.fit()
    run = Run(config, scores={6: 0.9})
    run.fit()
    assert_is(run.model.backbone, run.weights[6])
    assert run.evaluation.keep_best()["step"] == 6


@pytest.mark.parametrize(
    ("folder", "metric", "count"),
    [("plain", BEST, 6), ("classes", "knn_top1", 12), ("splits", "knn_top1", 12)],
)
def test_the_images_of_a_folder_decide_what_is_scored(tmp_path, images, folder, metric, count):
    run = Run(settings(tmp_path / "run", eval_dir=str(images / folder)))
    assert run.evaluation.metric == metric
    assert f"{metric} on {count} images of {images / folder}" in run.evaluation.describe()
    before = run.model.backbone.get_weights()
    scores = run.evaluation._scores()
    assert 0 <= scores[metric] <= 1
    assert_is(run.model.backbone, before)


@pytest.mark.parametrize("stray", ["stray.png", None], ids=["stray image", "splits without val"])
def test_a_folder_whose_classes_are_in_doubt_is_refused(tmp_path, images, stray):
    folder = images / ("classes" if stray else "splits")
    if stray:
        SOURCE.open(0, 0).save(folder / stray)
    else:
        (folder / "val").rename(folder / "test")
    with pytest.raises(UserError, match=f"eval_dir: .*no classes: .*{stray or 'test, train'}"):
        Run(settings(tmp_path / "run", eval_dir=str(folder)))


def test_what_is_left_out_of_the_scored_images_is_told(tmp_path, images):
    (images / "classes" / "notes.txt").touch()
    run = Run(settings(tmp_path / "run", eval_dir=str(images / "classes")))
    (note,) = run.evaluation.describe().splitlines()[1:]
    assert note == f"  note      {images / 'classes'}: left out: 1 .txt"
    assert run.evaluation.left_out == {str(images / "classes"): {".txt": 1}}


def test_without_a_folder_the_runs_own_images_are_scored_and_it_is_said(tmp_path, images):
    own = data.build("folder", data_dir=str(images / "plain"))
    config = settings(
        tmp_path / "run", dataset="folder", data_dir=str(images / "plain"), eval_dir=None
    )
    assert "the run's own; give --eval_dir" in Run(config, own).evaluation.describe()
    held_out = Run(settings(tmp_path / "other", eval_dir=None)).evaluation.describe()
    assert "images of synthetic val, every 2 steps" in held_out


def test_class_maps_are_scored_by_a_dense_probe_which_decides_where_nothing_else_does(
    tmp_path, images
):
    for split in ("train", "val"):
        for folder in (split, f"{split}_sem"):
            (tmp_path / "maps" / folder).mkdir(parents=True)
        for number in range(3):
            classes = np.zeros((32, 32), np.uint8)
            classes[:, 16:] = 1
            picture = np.repeat(classes[..., None] * 200, 3, axis=-1)
            Image.fromarray(picture).save(tmp_path / "maps" / split / f"{number}.png")
            Image.fromarray(classes).save(tmp_path / "maps" / f"{split}_sem" / f"{number}.png")
    maps = str(tmp_path / "maps")
    run = Run(settings(tmp_path / "run", eval_dir=None, eval_maps_dir=maps))
    assert run.evaluation.metric == "linear_dense_miou"
    assert f"linear_dense_miou on 3 images of {maps}/val" in run.evaluation.describe()
    run.directory.create(mean=toys.MEAN, std=toys.STD)
    run.evaluation.begin(0)
    run.evaluation(1)
    (line,) = run_logs.read(run.directory.path / "evaluations.jsonl")
    assert line["linear_dense_miou"] > 0.8
    assert BEST in line


def test_class_maps_with_nothing_to_tell_apart_are_refused(tmp_path):
    for split in ("train", "val"):
        for folder in (split, f"{split}_sem"):
            (tmp_path / "maps" / folder).mkdir(parents=True)
            Image.new("L", (8, 8)).save(tmp_path / "maps" / folder / "0.png")
    maps = str(tmp_path / "maps")
    with pytest.raises(UserError, match="Expected two classes or more in 1 maps of .*train"):
        Run(settings(tmp_path / "run", eval_dir=None, eval_maps_dir=maps))
