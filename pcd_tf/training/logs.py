"""What a run tells while it goes: a progress bar, metrics.jsonl and TensorBoard."""

import json
import logging
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import msgspec
import tensorflow as tf
from tqdm import tqdm

from pcd_tf import atomic

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_LINES = 30.0  # where the bar goes to a file

# What the progress bar shows of the values, and how.
_SHOWN = {"loss": "loss {:.3f}", "retrieval_top1": "top-1 {:.1%}"}


class Logs:
    """Tells how a run goes; a context manager.

    Each line of metrics.jsonl is the state after a step: the model's values, learning_rate,
    images_per_second and data_wait (share of the time spent waiting for data) since the line
    before.

    Args:
        metrics_file: the JSON-lines file; lines after first_step are replaced.
        tensorboard: directory of the event files.
        first_step: how many steps are done already: 0, or those of the checkpoint.
        total_steps: the run's length.
        global_batch_size: images a step.
    """

    def __init__(
        self,
        metrics_file: Path,
        tensorboard: Path,
        *,
        first_step: int,
        total_steps: int,
        global_batch_size: int,
    ) -> None:
        drop_lines_after(metrics_file, first_step)
        if first_step:
            print(f"Resumes at step {first_step} of {total_steps}.", flush=True)
        self._path = metrics_file
        self._file = metrics_file.open("a")
        self._writer = tf.summary.create_file_writer(str(tensorboard))
        self._bar = tqdm(
            total=total_steps,
            initial=first_step,
            unit="step",
            mininterval=1.0 if sys.stderr.isatty() else _SECONDS_BETWEEN_LINES,
            smoothing=0.3,  # so that the ETA forgets the first step, which builds the graph
        )
        self._global_batch_size = global_batch_size
        self._last_step, self._last_time = first_step, time.perf_counter()
        self._waited = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.close()
        self._file.close()
        self._writer.close()

    def advance(self, waited: float) -> None:
        """Counts one step, and the seconds that it waited for data."""
        self._waited += waited
        self._bar.update()

    def restart_clock(self) -> None:
        """Leaves out of the speed what has passed since the last line: an evaluation, say."""
        self._last_time, self._waited = time.perf_counter(), 0.0

    def write(self, step: int, values: dict[str, float]) -> None:
        """Writes the values of a step everywhere, with the speed since the last time."""
        now = time.perf_counter()
        seconds = now - self._last_time
        speed = (step - self._last_step) * self._global_batch_size / seconds
        data_wait = self._waited / seconds
        self._last_step, self._last_time, self._waited = step, now, 0.0
        values = {**values, "images_per_second": speed, "data_wait": data_wait}

        append(self._file, {"step": step, "time": time.time(), **values})
        with self._writer.as_default(step=step):
            for name, value in values.items():
                tf.summary.scalar(name, value)
        shown = [text.format(values[name]) for name, text in _SHOWN.items() if name in values]
        shown += [f"{speed:.0f} images/s", f"data wait {data_wait:.0%}"]
        self._bar.set_postfix_str(", ".join(shown), refresh=False)

    def keep(self) -> None:
        """Brings the lines to the disk: those before a checkpoint are never written again."""
        atomic.flush(self._path)


def read(metrics_file: Path) -> list[dict[str, float]]:
    """Reads a JSON-lines file; a damaged line is passed over with a warning."""
    if not metrics_file.is_file():
        return []
    lines = []
    for number, text in enumerate(metrics_file.read_bytes().splitlines(), start=1):
        try:
            line = msgspec.json.decode(text, type=dict[str, int | float])
            msgspec.convert(line, _Step)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            logger.warning(
                "Passed over line %d of %s, which is damaged: %s", number, metrics_file, error
            )
        else:
            lines.append(line)
    return lines


def append(stream: IO[str], line: Mapping[str, float]) -> None:
    """Adds a line to a JSON-lines file, for all to read."""
    stream.write(json.dumps(line) + "\n")
    stream.flush()


def drop_lines_after(metrics_file: Path, step: int) -> None:
    """Keeps the lines up to a step: those after it belong to a run that went on elsewhere."""
    kept = [json.dumps(line) + "\n" for line in read(metrics_file) if line["step"] <= step]
    with atomic.file(metrics_file) as temporary:
        temporary.write_text("".join(kept))


class _Step(msgspec.Struct):
    """What each line has."""

    step: int
