"""Checkpoints of a run: model, optimizer and queue; never the teacher."""

from pathlib import Path

import keras
import tensorflow as tf

from pcd_tf import checkpoint_files, errors
from pcd_tf.errors import UserError

_NAME = "step"


class Checkpoints:
    """Writes and restores what a run needs to go on.

    The step is the optimizer's; everything else random is a function of the step (see
    `pcd_tf.data.two_views`), so nothing more is kept.

    Args:
        directory: where they are.
        model: compiled keras.Model; its optimizer is built here.
    """

    def __init__(self, directory: Path, model: keras.Model):
        with model.distribute_strategy.scope():
            model.optimizer.build(model.trainable_variables)
        self._directory = directory
        self._step = tf.Variable(0, dtype=tf.int64, trainable=False, name="run_step")
        self._checkpoint = tf.train.Checkpoint(
            model=model, optimizer=model.optimizer, step=self._step
        )

    @errors.translated()
    def restore(self) -> int:
        """Restores the newest whole checkpoint, every variable of it.

        Returns:
            its step, 0 without one.

        Raises:
            UserError: when the checkpoint does not fit the model, or all are damaged.
        """
        found = checkpoint_files.find(self._directory, _NAME)
        if found is None:
            return 0
        path, _ = found
        try:
            status = self._checkpoint.restore(path)
            status.assert_existing_objects_matched().assert_consumed()
        except (AssertionError, IndexError, ValueError, tf.errors.OpError) as error:
            raise UserError(
                f"Expected a checkpoint of this model in {path}. Received: one that does not fit "
                f"({str(error).splitlines()[0]}). Remove the directory to start over, or name "
                "another --workdir."
            ) from error
        return int(self._step.numpy())

    @errors.translated()
    def save(self, step: int) -> None:
        """Writes a checkpoint of a step and removes all but the last few."""
        self._step.assign(step)
        checkpoint_files.write(self._checkpoint, self._directory, _NAME, step)
