"""Checkpoints of a run: model, optimizer and queue; never the teacher."""

from pathlib import Path

import keras
import tensorflow as tf

from pcd_tf import errors
from pcd_tf.errors import UserError

NUM_KEPT = 2  # the last, and the one before it in case the machine dies while writing
_REMEDY = "Remove the directory to start over, or name another --workdir."


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
        self._step = tf.Variable(0, dtype=tf.int64, trainable=False, name="run_step")
        checkpoint = tf.train.Checkpoint(model=model, optimizer=model.optimizer, step=self._step)
        self._manager = tf.train.CheckpointManager(
            checkpoint, str(directory), max_to_keep=NUM_KEPT, checkpoint_name="step"
        )

    def restore(self) -> int:
        """Restores the last checkpoint, every variable of it; returns its step, 0 without one.

        Raises:
            UserError: when the checkpoint does not fit the model, or cannot be read.
        """
        path = self._manager.latest_checkpoint
        if path is None:
            self._refuse_unlisted()
            return 0
        try:
            status = self._manager.checkpoint.restore(path)
            status.assert_existing_objects_matched().assert_consumed()
        except (AssertionError, IndexError, ValueError, tf.errors.OpError) as error:
            raise UserError(
                f"Expected a checkpoint of this model in {path}. Received: one that does not fit "
                f"or cannot be read ({str(error).splitlines()[0]}). {_REMEDY}"
            ) from error
        return int(self._step.numpy())

    @errors.translated()
    def save(self, step: int) -> None:
        """Writes a checkpoint of a step and removes all but the last few."""
        self._step.assign(step)
        self._manager.save(checkpoint_number=step)

    def _refuse_unlisted(self) -> None:
        """Keeps a run from starting over, and over its checkpoints, when their list is damaged."""
        directory = Path(self._manager.directory)
        if any(directory.glob("*.index")):
            raise UserError(
                f"Expected the file {directory / 'checkpoint'} to name the last checkpoint. "
                f"Received: none that can be read, beside checkpoints. {_REMEDY}"
            )
