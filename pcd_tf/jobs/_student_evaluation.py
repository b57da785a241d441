"""The student's worth while it is distilled: scores on other images, and the best one kept."""

import math
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np

from pcd_tf import atomic, data, probes, students
from pcd_tf.configs.distill import Config
from pcd_tf.errors import UserError
from pcd_tf.training import pictures
from pcd_tf.training.evaluations import Evaluations
from pcd_tf.training.run_directory import RunDirectory

_SPLITS = ("train", "val")  # folders of --eval_dir
_MOST_IMAGES_AT_ONCE = 64
_STEP = "step.txt"  # in best_student: the step that it is of
_FIFTH = 5  # of one folder of classes, each fifth image is scored against the others


class StudentEvaluation:
    """Scores a student in inference mode, and says when it gets no better.

    With class folders in --eval_dir the k-NN accuracy decides; else with --eval_maps_dir the mIoU
    of a linear classifier at every pixel; else the retrieval of pixels between two views, which
    needs no labels. All leave the student as it is.

    Args:
        config: of the run; eval_every_epochs is set.
        student: the backbone; it may be trained between the calls.
        teacher: whose normalisation the student has.
        source: the run's own images.
        directory: of the run.

    Call arguments:
        step: how many steps are done. A step that was scored already is not scored again.

    Returns:
        whether --early_stop_evals ends the run here.

    Raises:
        UserError: when --eval_dir holds no two images, or splits differ in their classes; when
            --eval_maps_dir lacks a split, or its maps do not fit.
    """

    def __init__(
        self,
        config: Config,
        student: keras.Model,
        teacher: Any,
        source: data.Source,
        directory: RunDirectory,
    ) -> None:
        if config.eval_every_epochs is None:
            raise UserError("Expected eval_every_epochs to be set. Received: None.")
        steps = config.eval_every_epochs * source.num_examples / config.global_batch_size
        self.every = max(1, round(steps))
        self._config = config
        self._student = student
        self._network = probes.network(student, teacher.mean, teacher.std)
        self._directory = directory
        self._best_student = directory.path / "best_student"
        self._labelled, self._held_out = _images(config, source)
        self._is_own = self._held_out is source
        self._maps = _maps(config)
        deciding = "knn" if self._labelled else "linear_dense" if self._maps else "pixel_retrieval"
        self.metric: str = probes.load(deciding).MAIN
        # Whose score decides.
        self._scored = self._maps[1] if self._maps and not self._labelled else self._held_out
        self._evaluations: Any = None

    def begin(self, first_step: int) -> None:
        """Opens evaluations.jsonl, once the step to go on from is known.

        After a damaged checkpoint that may be before the best student's step. Its score is dropped
        then, and so is the student; the best is found anew, this step's counted in.
        """
        is_later = (self._step_kept() or 0) > first_step
        if is_later:
            self._remove_best()
        self._evaluations = Evaluations(
            self._directory.path / "evaluations.jsonl",
            self._directory.tensorboard,
            first_step=first_step - is_later,
        )

    def __call__(self, step: int) -> bool:
        if step not in self._evaluations:
            scores = self._scores()
            best = self._best()
            value = scores[self.metric]
            is_best = math.isfinite(value) and (best is None or value > best[1])
            if is_best:  # before its line: a run that is stopped here scores again
                with atomic.directory(self._best_student, overwrite=True) as folder:
                    students.save(self._student, folder)
                    (folder / _STEP).write_text(str(step))
            self._evaluations.add(step, scores)
            was = "the best so far" if is_best or best is None else f"best {best[1]:.4g}"
            print(f"\nStep {step}: {self.metric} {value:.4g} ({was}).", flush=True)
        patience, best = self._config.early_stop_evals, self._best()
        if patience is None or best is None:
            return False
        return bool(self._evaluations.since(best[0]) >= patience)

    @property
    def left_out(self) -> dict[str, dict[str, int]]:
        """How many files of each set of images are not scored, by kind."""
        sources = filter(None, () if self._is_own else (self._labelled, self._held_out))
        return {source.name: source.left_out for source in sources}

    def describe(self) -> str:
        """Says what is scored on what, for the beginning of a run."""
        what = f"{self.metric} on {self._scored.num_examples} images of {self._scored.name}"
        is_own = self._is_own and self._scored is self._held_out
        own = " (the run's own; give --eval_dir for others)" if is_own else ""
        notes = "" if is_own else data.noted(self._labelled, self._held_out)
        return f"  evaluate  {what}{own}, every {self.every} steps{notes}"

    def keep_best(self) -> dict[str, Any]:
        """Makes the best student WORKDIR/student, draws the scores and returns what is said of it.

        Returns:
            metric, step, value, images: of the best, for result.json; step None where nothing could
            be scored, and the last student is kept.
        """
        pictures.draw_evaluations(
            self._evaluations.lines,
            self._directory.pictures / "evaluations.png",
            metric=self.metric,
        )
        target = self._directory.path / "student"
        step, value = self._best() or (None, None)
        if step is None:
            with atomic.directory(target, overwrite=True) as folder:
                students.save(self._student, folder)
        elif self._best_student.is_dir():  # else an earlier end of this run has moved it already
            with atomic.directory(target, overwrite=True) as folder:
                shutil.copytree(
                    self._best_student,
                    folder,
                    ignore=shutil.ignore_patterns(_STEP),
                    dirs_exist_ok=True,
                )
            self._remove_best()
        return {"metric": self.metric, "step": step, "value": value, "images": self._scored.name}

    def _best(self) -> tuple[int, float] | None:
        """Returns the step of the student that is kept and its score, None where there is none."""
        scores = {
            line["step"]: line[self.metric]
            for line in self._evaluations.lines
            if self.metric in line
        }
        is_kept = self._best_student.is_dir() or (self._directory.path / "student").is_dir()
        if not (is_kept and scores):
            return None
        step = self._step_kept() or self._evaluations.best(self.metric)[0]
        return (step, scores[step]) if step in scores else None

    def _step_kept(self) -> int | None:
        """Reads which step best_student is of; None where it was moved, or is of a former release.

        Those kept the student alone.
        """
        file = self._best_student / _STEP
        return int(file.read_text()) if file.is_file() else None

    def _remove_best(self) -> None:
        # Aside first, by one step: what is left of a removal must not pass for a student.
        removed = self._best_student.with_name(".best_student")
        shutil.rmtree(removed, ignore_errors=True)
        self._best_student.rename(removed)
        shutil.rmtree(removed)

    def _scores(self) -> dict[str, float]:
        size = {
            "image_size": self._config.image_size,
            "batch_size": min(_MOST_IMAGES_AT_ONCE, self._config.global_batch_size),
        }
        retrieval = probes.load("pixel_retrieval")
        scores: dict[str, float] = retrieval.evaluate(self._network, None, self._held_out, **size)
        if self._maps is not None:
            scores |= probes.load("linear_dense").evaluate(self._network, *self._maps, **size)
        if self._labelled is None:
            return scores
        knn = probes.load("knn")
        if self._labelled is not self._held_out:
            return scores | knn.evaluate(self._network, self._labelled, self._held_out, **size)
        features = probes.pooled(self._network, self._held_out, **size)
        is_scored = np.zeros(len(features.labels), np.bool_)
        for label in np.unique(features.labels):
            is_scored[np.flatnonzero(features.labels == label)[::_FIFTH]] = True
        return scores | knn.score(features.part(~is_scored), features.part(is_scored))


def _images(config: Config, source: data.Source) -> tuple[data.Source | None, data.Source]:
    """Opens the labelled images that neighbours come from, None without labels, and the scored."""
    if config.eval_dir is None:
        if config.dataset == "synthetic":
            return None, data.build("synthetic", split="val", seed=config.seed)
        return None, source
    folders = [Path(config.eval_dir) / split for split in _SPLITS]
    if all(folder.is_dir() for folder in folders):
        train, held_out = (data.build("folder", data_dir=str(folder)) for folder in folders)
        probes.check_classes(train, held_out)
        return train, held_out
    images = data.build("folder", data_dir=config.eval_dir)
    if images.why_no_classes:
        raise UserError(
            "eval_dir: expected folders that are classes, or train and val with one folder a class "
            f"in each, or images alone. Received: {config.eval_dir}, {images.why_no_classes}."
        )
    if images.num_examples < 2:
        raise UserError(
            f"eval_dir: expected two images or more. Received: {images.num_examples} in "
            f"{config.eval_dir}."
        )
    return (images if images.class_names else None), images


def _maps(config: Config) -> tuple[data.Segmented, data.Segmented] | None:
    """Opens the images with class maps to learn from and to score, where they are asked for."""
    if config.eval_maps_dir is None:
        return None
    has_val = (Path(config.eval_maps_dir) / _SPLITS[1]).is_dir()
    splits = ("train", "val" if has_val else "test")
    return data.build_segmented_two("png_maps", splits, data_dir=config.eval_maps_dir)
