"""Trains a detector or a segmenter from a backbone, and evaluates it."""

import math
from typing import Any

import keras

from pcd_tf import atomic, data, detectors, inits
from pcd_tf.configs.finetune import Config
from pcd_tf.inits import Init
from pcd_tf.jobs._detection import Detection
from pcd_tf.jobs._fitting import Task, numbers
from pcd_tf.jobs._mask_detection import MaskDetection
from pcd_tf.jobs._segmentation import Segmentation
from pcd_tf.training import devices, tensorboard_images
from pcd_tf.training.run_directory import RunDirectory

RESULTS = "results.json"


def run(config: Config) -> None:
    """Fine-tunes; the last evaluation ends in WORKDIR/results.json.

    Raises:
        UserError: when the settings, the labels, the init or the workdir do not fit; before any
            long work; when the loss is not finite; the last checkpoint is from before.

    Example:
        run(Config(workdir="runs/cells", init="runs/student", dataset="voc", data_dir="bccd"))
    """
    config.validate()
    directory = RunDirectory(config.workdir, "finetune", config, result=RESULTS)
    strategy = devices.strategy(config.strategy, num_virtual_devices=config.num_virtual_devices)
    devices.check_batch(strategy, config.global_batch_size, least=1)
    devices.set_precision(config.precision)
    data.set_max_pixels(config.max_pixels)
    task = _task(config)
    num_examples = task.train.num_examples
    total_steps = config.total_steps(num_examples)
    config.warmup_steps(num_examples)  # refuses one that is too long

    with strategy.scope():
        keras.utils.set_random_seed(config.seed)
        init = inits.load(config.init, student=config.student)
        inits.freeze(
            init.backbone,
            level=None if config.freeze == "none" else config.freeze,
            batch_norm=config.batch_norm == "frozen",
        )
    print(
        f"Fine-tunes {config.model} from {config.init} ({init.kind}).\n{task.describe()}\n"
        f"  length    {total_steps} steps of {config.global_batch_size} images, "
        f"{config.image_size} px: {total_steps * config.global_batch_size / num_examples:.3g} "
        f"epochs\n"
        f"  devices   {devices.describe(strategy)}, {config.precision}\n"
        f"  workdir   {config.workdir}",
        flush=True,
    )

    def begin() -> None:
        """Writes config.json; what is refused before leaves nothing behind."""
        directory.create(
            init_kind=init.kind,
            init_sha256=init.sha256,
            mean=init.mean,
            std=init.std,
            normalisation=init.normalisation,
            num_examples=num_examples,
            **data.identity(task.train),
            **{f"eval_{name}": fact for name, fact in data.identity(task.held_out).items()},
        )

    scores = task.fit(init, strategy, directory, begin)
    _conclude(task, config, init, directory, total_steps, scores)


def _task(config: Config) -> Task:
    """Opens the labelled images, as the model wants them."""
    if config.is_segmenter:
        return Segmentation(config)
    return MaskDetection(config) if detectors.trains_itself(config.model) else Detection(config)


def _conclude(
    task: Task,
    config: Config,
    init: Init,
    directory: RunDirectory,
    step: int,
    scores: dict[str, Any],
) -> None:
    picture = directory.pictures / "predictions.png"
    task.draw(picture)
    tensorboard_images.show(picture, directory.tensorboard, step=step)
    for name, content in task.files().items():
        atomic.write_json(directory.path / name, content)
    directory.finish(
        model=config.model,
        init={"name": config.init, "kind": init.kind, "sha256": init.sha256},
        step=step,
        metric=task.metric,
        **scores,
    )
    shown = ", ".join(
        f"{name} {value:.3f}" for name, value in numbers(scores).items() if math.isfinite(value)
    )
    print(f"Done: {shown}.\n  results   {directory.result}\n  pictures  {directory.pictures}")
