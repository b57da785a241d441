"""The training of a Mask R-CNN from stop to stop: logged, kept and evaluated."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

from pcd_tf import checkpoint_files
from pcd_tf.detectors._mask_rcnn_settings import Settings
from pcd_tf.errors import UserError

_FOLDER = "checkpoints"  # in the workdir
_NAME = "ckpt"  # Model Garden's


def run(
    trainer: Any,
    settings: Settings,
    workdir: Path,
    *,
    log: Callable[[int, dict[str, float]], bool | None],
    evaluate: Callable[[int], None],
) -> None:
    """Trains from the last checkpoint, if any, to the end.

    Args:
        trainer: Model Garden's.
        settings: how often what is done.
        workdir: holds the checkpoints.
        log: called with the number of steps done and the means since the last call; where it
            returns True, a checkpoint is kept and the run ends.
        evaluate: called with the number of steps done, behind the checkpoint of that step, and
            again when a run is resumed there: an interrupted one may have missed it.

    Raises:
        UserError: when the loss is not finite; the last checkpoint is from before. When all
            checkpoints are damaged.
        KeyboardInterrupt: when `log` asked for the end.
    """
    folder = workdir / _FOLDER
    if (found := checkpoint_files.find(folder, _NAME)) is not None:
        trainer.checkpoint.restore(found[0])
    last = settings.num_steps
    eval_every = settings.eval_every_steps or last
    every = (settings.log_every_steps, settings.checkpoint_every_steps, eval_every)

    done = int(trainer.global_step)
    if done and (done % eval_every == 0 or done == last):
        evaluate(done)
    while done < last:
        stop = min(last, *(done - done % n + n for n in every))
        values = {name: float(x) for name, x in trainer.train(tf.constant(stop - done)).items()}
        done = stop
        values["loss"] = values.pop("total_loss")
        del values["training_loss"]  # Model Garden's trainer has it twice
        _check_finite(values["loss"], done)
        is_stopped = log(done, values)
        is_evaluated = done == last or done % eval_every == 0
        if is_stopped or is_evaluated or done % settings.checkpoint_every_steps == 0:
            checkpoint_files.write(trainer.checkpoint, folder, _NAME, done)
        if is_stopped and done < last:
            raise KeyboardInterrupt
        if is_evaluated:
            evaluate(done)


def step_reached(workdir: Path) -> int:
    """Returns the step that `run` goes on from, 0 for none: see `checkpoint_files.find`."""
    found = checkpoint_files.find(workdir / _FOLDER, _NAME)
    return 0 if found is None else found[1]


def _check_finite(loss: float, step: int) -> None:
    if not math.isfinite(loss):
        raise UserError(
            f"Not finite at step {step}: loss. The run stops; its last checkpoint, if any, is from "
            "before. Lower --learning_rate, lengthen --warmup_epochs, or train with "
            "--precision=float32; then name a new --workdir."
        )
