"""Detection with masks, by a detector that trains itself: Model Garden's, on Keras 2."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from pcd_tf import records
from pcd_tf.inits import Init
from pcd_tf.jobs._detection import Detection
from pcd_tf.jobs._fitting import numbers
from pcd_tf.training import devices, interrupts, logs, optimizer
from pcd_tf.training.evaluations import Evaluations
from pcd_tf.training.run_directory import RunDirectory

_LEVELS = ("none", "stem", "P2", "P3", "P4", "P5")  # what is frozen, by the number of stages


class MaskDetection(Detection):
    """Boxes and masks; scores of masks have the prefix `mask_`.

    Args:
        config: of the run.
    """

    metric = "mask_AP"

    def fit(
        self,
        init: Init,
        strategy: devices.Strategy,
        directory: RunDirectory,
        begin: Callable[[], None],
    ) -> dict[str, Any]:
        """Trains to the end of the run and returns the last scores."""
        config = self._config
        module = importlib.import_module(f"pcd_tf.detectors.{config.model}")
        total = config.total_steps(self.num_examples)
        settings = module.Settings(
            strategy=strategy,
            image_size=config.image_size,
            global_batch_size=config.global_batch_size,
            num_steps=total,
            warmup_steps=config.warmup_steps(self.num_examples),
            learning_rate=optimizer.peak(config),
            schedule=config.schedule,
            boundaries=optimizer.STEPS,
            weight_decay=config.weight_decay,
            frozen_stages=_LEVELS.index(config.freeze),
            batch_norm=config.batch_norm,
            eval_every_steps=config.evaluate_every(self.num_examples) or total,
            log_every_steps=config.log_every_steps,
            checkpoint_every_steps=config.checkpoint_every_steps,
            precision=config.precision,
            seed=config.seed,
        )
        module.check(init, self.train, self.held_out, settings)
        begin()
        first_step = module.step_reached(directory.path)
        evaluations = Evaluations(
            directory.path / "evaluations.jsonl", directory.tensorboard, first_step=first_step
        )

        def evaluated(step: int, scores: Mapping[str, Any]) -> None:
            if step not in evaluations:
                evaluations.add(step, numbers(_joined(scores)))

        reached = first_step
        with (
            logs.Logs(
                directory.metrics,
                directory.tensorboard,
                first_step=first_step,
                total_steps=total,
                global_batch_size=config.global_batch_size,
            ) as run_logs,
            interrupts.held_back() as asked_to_stop,
        ):

            def log(step: int, values: Mapping[str, float]) -> bool:
                nonlocal reached
                for _ in range(reached, step):
                    run_logs.advance(waited=0.0)  # Model Garden does not tell how long it waited
                reached = step
                run_logs.write(step, dict(values))
                run_logs.keep()  # a checkpoint may follow
                return asked_to_stop()

            scores = module.train(
                init,
                self.train,
                self.held_out,
                settings,
                directory.path,
                log=log,
                evaluated=evaluated,
            )
        if config.export:
            print("There is no SavedModel of mask_rcnn: its weights are in checkpoints/.")
        self.found = records.read(
            directory.path / "detections.json",
            list[dict[str, Any]],
            what="what Mask R-CNN has found",
            most=None,  # a few hundred bytes for each object of the evaluation split
        )
        return _joined(scores)


def _joined(scores: Mapping[str, Any]) -> dict[str, Any]:
    masks = {f"mask_{name}": value for name, value in scores["mask"].items()}
    return {**scores["box"], **masks}
