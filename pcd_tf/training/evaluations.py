"""What a run scored on held-out images, and when: evaluations.jsonl and TensorBoard."""

import math
import time
from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf

from pcd_tf import atomic
from pcd_tf.errors import UserError
from pcd_tf.training import logs


class Evaluations:
    """The scores of a run by step; one line of evaluations.jsonl each.

    Args:
        file: the JSON-lines file; lines after first_step are dropped.
        tensorboard: directory of the event files.
        first_step: how many steps are done already: 0, or those of the checkpoint.

    Example:
        evaluations = Evaluations(workdir / "evaluations.jsonl", workdir / "tensorboard")
        evaluations.add(1000, {"knn_top1": 0.31})
        evaluations.best("knn_top1")  # (1000, 0.31)
    """

    def __init__(self, file: Path, tensorboard: Path, *, first_step: int = 0) -> None:
        logs.drop_lines_after(file, first_step)
        self._file = file
        self._tensorboard = tensorboard
        self.lines = logs.read(file)

    def __contains__(self, step: int) -> bool:
        return any(line["step"] == step for line in self.lines)

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Keeps the scores of a step; a score that could not be had is NaN and is left out."""
        finite = {name: float(value) for name, value in values.items() if math.isfinite(value)}
        line = {"step": step, "time": time.time(), **finite}
        self.lines.append(line)
        with self._file.open("a") as stream:
            logs.append(stream, line)
        atomic.flush(self._file)
        writer = tf.summary.create_file_writer(str(self._tensorboard))
        with writer.as_default(step=step):
            for name, value in finite.items():
                tf.summary.scalar(f"evaluation/{name}", value)
        writer.close()

    def best(self, metric: str) -> tuple[int, float]:
        """Returns the step with the highest score, the first of equals, and that score.

        Raises:
            UserError: when no line has that score.
        """
        found = [(line[metric], -int(line["step"])) for line in self.lines if metric in line]
        if not found:
            raise UserError(f"Expected a score {metric} in {self._file}. Received: none.")
        value, negative_step = max(found)
        return -negative_step, value

    def since(self, step: int) -> int:
        """Counts the evaluations after a step: what early stopping looks at."""
        return sum(line["step"] > step for line in self.lines)
