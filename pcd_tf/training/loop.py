"""The loop of a run: batches in, steps done, logged and kept."""

import math
import time
from collections.abc import Callable
from typing import Any, NoReturn

import keras
import numpy as np
import tensorflow as tf

from pcd_tf import errors
from pcd_tf.errors import UserError
from pcd_tf.training import interrupts
from pcd_tf.training.checkpoints import Checkpoints
from pcd_tf.training.logs import Logs


@errors.translated()
def train(
    model: keras.Model,
    batches: tf.data.Dataset,
    *,
    steps: range,
    checkpoints: Checkpoints,
    logs: Logs,
    log_every: int,
    checkpoint_every: int,
    evaluate_every: int | None = None,
    evaluate: Callable[[int], bool] | None = None,
) -> dict[str, float]:
    """Runs the steps of a range, one batch each.

    Values are fetched from the accelerator at the run's first step, every `log_every` steps and
    before each checkpoint, not at each step, so that it is never kept waiting.

    Args:
        model: compiled, with a `train_step` that returns global means by name.
        batches: the stream, starting at the first step's batch.
        steps: those to run.
        checkpoints: where to keep what was reached.
        logs: where the values go.
        log_every: in steps.
        checkpoint_every: in steps.
        evaluate_every: in steps; None for never.
        evaluate: called with the number of steps done, at each multiple of `evaluate_every` and at
            the end, behind the checkpoint of that step, and again when a run is resumed there:
            an interrupted one may have missed it. Returns whether the run is to end here.

    Returns:
        the values of the last step.

    Raises:
        UserError: when the loss, or a weight to be kept, is not finite, an image is damaged, or
            memory runs out; the last checkpoint is from before.
        KeyboardInterrupt: when SIGINT or SIGTERM came; a checkpoint of the step it came in is kept.
    """
    strategy = model.distribute_strategy
    iterator = iter(strategy.experimental_distribute_dataset(batches))
    step_function = _step_function(model, strategy)
    values: dict[str, float] = {}

    def ends_at(done: int) -> bool:
        if evaluate is None or evaluate_every is None or not done:
            return False
        if done % evaluate_every and done != steps.stop:
            return False
        ends = evaluate(done)
        logs.restart_clock()
        return ends

    if ends_at(steps.start):
        return values
    with interrupts.held_back() as asked_to_stop:
        for step in steps:
            start = time.perf_counter()
            batch = next(iterator)
            waited = time.perf_counter() - start
            outputs = step_function(batch)

            done = step + 1
            logs.advance(waited)
            stop = asked_to_stop()
            is_last = done == steps.stop
            is_evaluated = evaluate_every is not None and done % evaluate_every == 0
            keep = done % checkpoint_every == 0 or is_evaluated or is_last or stop
            if keep or done % log_every == 0 or done == 1:
                values = {name: float(value) for name, value in outputs.items()}
                _check_finite(values, done)
                logs.write(done, {**values, "learning_rate": _rate(model.optimizer, step)})
            if keep:
                _check_weights(model, done)
                logs.keep()
                checkpoints.save(done)
            if not stop and ends_at(done):
                break
            stop = stop or asked_to_stop()
            if stop and (not is_last or evaluate is not None):
                raise KeyboardInterrupt
    return values


def _step_function(model: keras.Model, strategy: tf.distribute.Strategy) -> Any:
    @tf.function(jit_compile=model.jit_compile, reduce_retracing=True)
    def step(batch: Any) -> dict[str, tf.Tensor]:
        outputs = strategy.run(model.train_step, args=(batch,))
        return strategy.reduce(tf.distribute.ReduceOp.MEAN, outputs, axis=None)

    return step


def _rate(optimizer: keras.optimizers.Optimizer, step: int) -> float:
    """The learning rate of a step: the optimizer's own counter already stands at the next one."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    schedule = optimizer._learning_rate
    return float(schedule(step) if callable(schedule) else schedule)


def _check_finite(values: dict[str, float], step: int) -> None:
    wrong = [name for name, value in values.items() if not math.isfinite(value)]
    if wrong:
        _stop(step, wrong)


def _check_weights(model: keras.Model, step: int) -> None:
    """Looks before a checkpoint is written: a finite loss can still have an infinite gradient."""
    wrong = [
        variable.path
        for variable in model.trainable_variables
        if not np.isfinite(keras.ops.convert_to_numpy(variable)).all()
    ]
    if wrong:
        _stop(step, wrong)


def _stop(step: int, wrong: list[str]) -> NoReturn:
    shown = ", ".join(wrong[:3]) + (f" and {len(wrong) - 3} more" if len(wrong) > 3 else "")
    raise UserError(
        f"Not finite at step {step}: {shown}. The run stops; its last checkpoint, if any, is "
        "from before. Lower --learning_rate, lengthen --warmup_epochs, or train with "
        "--precision=float32; then name a new --workdir."
    )
