"""From an init to a trained network and its scores, for models that this project's loop trains."""

import abc
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras

from pcd_tf import atomic, errors
from pcd_tf.configs.finetune import Config
from pcd_tf.inits import Init
from pcd_tf.training import devices, logs, optimizer, pictures
from pcd_tf.training.checkpoints import Checkpoints
from pcd_tf.training.evaluations import Evaluations
from pcd_tf.training.loop import train
from pcd_tf.training.run_directory import RunDirectory


class Task(abc.ABC):
    """What is trained, on what, and how it is scored.

    Args:
        config: of the run.
        train: the images to train on.
        held_out: those to be scored on.
    """

    metric: str  # name of the score that counts

    def __init__(self, config: Config, train: Any, held_out: Any) -> None:
        self._config = config
        self.train, self.held_out = train, held_out
        # Scored on one device, whatever trains: what one replica takes.
        replicas = max(1, config.num_virtual_devices, devices.count())
        self._batch_size = max(1, config.global_batch_size // replicas)

    @property
    def num_examples(self) -> int:
        """How many images are trained on."""
        count: int = self.train.num_examples
        return count

    @abc.abstractmethod
    def build(self, init: Init) -> keras.Model:
        """Builds the network on an init's backbone."""

    @abc.abstractmethod
    def batches(self, global_batch_size: int, start_step: int = 0) -> Any:
        """Makes the training stream, a tf.data.Dataset, from a step on."""

    @abc.abstractmethod
    def evaluate(self, model: keras.Model) -> dict[str, Any]:
        """Scores the network on the evaluation split."""

    @abc.abstractmethod
    def export(self, model: keras.Model, directory: Path) -> None:
        """Writes the SavedModel into an empty directory."""

    @abc.abstractmethod
    def describe(self) -> str:
        """Says what is trained and evaluated on."""

    @abc.abstractmethod
    def draw(self, path: Path) -> None:
        """Draws what the last evaluation found beside what is there."""

    def files(self) -> dict[str, Any]:
        """Gives further files of the last evaluation: file name -> JSON values."""
        return {}

    def fit(
        self,
        init: Init,
        strategy: devices.Strategy,
        directory: RunDirectory,
        begin: Callable[[], None],
    ) -> dict[str, Any]:
        """Trains from the last checkpoint, if any, and returns the scores at the end.

        Args:
            init: what it starts from.
            strategy: its devices.
            directory: of the run.
            begin: creates the directory; called once the network is built, which may be refused.
        """
        config, num_examples = self._config, self.num_examples
        total_steps = config.total_steps(num_examples)
        with strategy.scope():
            keras.utils.set_random_seed(config.seed)  # the same heads, whatever the init has drawn
            model = self.build(init)
            model.compile(
                optimizer=optimizer.for_finetuning(config, num_examples),
                jit_compile=False,  # neither needed here nor tried: no GPU was at hand
            )
        begin()
        checkpoints = Checkpoints(directory.checkpoints, model)
        first_step = checkpoints.restore()
        if not first_step:
            self._draw_batch(directory.pictures / "batch.png")
        evaluations = Evaluations(
            directory.path / "evaluations.jsonl", directory.tensorboard, first_step=first_step
        )
        last: dict[int, dict[str, Any]] = {}

        def evaluate(step: int) -> bool:
            if step not in evaluations or step == total_steps:
                last[step] = self.evaluate(model)
            if step not in evaluations:
                evaluations.add(step, numbers(last[step]))
            return False

        if first_step < total_steps:
            with logs.Logs(
                directory.metrics,
                directory.tensorboard,
                first_step=first_step,
                total_steps=total_steps,
                global_batch_size=config.global_batch_size,
            ) as run_logs:
                train(
                    model,
                    self.batches(config.global_batch_size, first_step),
                    steps=range(first_step, total_steps),
                    checkpoints=checkpoints,
                    logs=run_logs,
                    log_every=config.log_every_steps,
                    checkpoint_every=config.checkpoint_every_steps,
                    evaluate_every=config.evaluate_every(num_examples) or total_steps,
                    evaluate=evaluate,
                )
        if total_steps not in last:
            evaluate(total_steps)
        if config.export:
            with atomic.directory(directory.path / "saved_model", overwrite=True) as folder:
                self.export(model, folder)
        return last[total_steps]

    @errors.translated()
    def _draw_batch(self, path: Path) -> None:
        """Draws the first images of the run as the network sees them, from their own stream."""
        stream = self.batches(min(pictures.NUM_SHOWN, self._config.global_batch_size))
        batches = list(stream.take(1).as_numpy_iterator())
        pictures.draw_batches(batches, path, class_names=self.train.class_names)


def numbers(scores: Mapping[str, Any]) -> dict[str, float]:
    """Picks what is one number; scores by class are left to results.json."""
    return {name: value for name, value in scores.items() if isinstance(value, float)}
