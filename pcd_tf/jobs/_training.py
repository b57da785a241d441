"""What the training jobs share: from a compiled model to its trained end."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import keras
import numpy as np

from pcd_tf import data, errors
from pcd_tf.configs.training import TrainingConfig
from pcd_tf.errors import UserError
from pcd_tf.layers import Photometric
from pcd_tf.training import devices, pictures
from pcd_tf.training import logs as run_logs
from pcd_tf.training.checkpoints import Checkpoints
from pcd_tf.training.loop import train
from pcd_tf.training.run_directory import RunDirectory

# Pictures show images at this multiple of the training size, for maps with more pixels to look at.
PICTURE_SCALE = 4
_CONCLUDED = frozenset({"loss", "retrieval_top1", "feature_spread"})  # what is said at the end


class Evaluation(Protocol):
    """What is scored while a run goes."""

    every: int  # in steps

    def begin(self, first_step: int) -> None:
        """Prepares for a run that goes on from a step."""

    def __call__(self, step: int) -> bool:
        """Scores after a step, at most once; returns whether the run is to end here."""


def begin(job: str, config: TrainingConfig) -> tuple[RunDirectory, devices.Strategy, data.Source]:
    """Opens the run directory, the devices and the images, all checked before anything long.

    Raises:
        UserError: when the settings, the workdir, the devices or the images do not fit.
    """
    config.validate()
    directory = RunDirectory(config.workdir, job, config)
    strategy = devices.strategy(config.strategy, num_virtual_devices=config.num_virtual_devices)
    devices.check_batch(strategy, config.global_batch_size)
    devices.set_precision(config.precision)
    keras.utils.set_random_seed(config.seed)
    data.set_max_pixels(config.max_pixels)
    source = data.build(
        config.dataset, data_dir=config.data_dir, tfds_name=config.tfds_name, seed=config.seed
    )
    source.check(config.global_batch_size)
    return directory, strategy, source


def fit(
    model: keras.Model,
    source: data.Source,
    recipe: data.Recipe,
    config: TrainingConfig,
    directory: RunDirectory,
    evaluation: Evaluation | None = None,
) -> list[dict[str, float]]:
    """Trains from the last checkpoint, if any, to the end of the run.

    Args:
        model: compiled with the optimizer of the whole run.
        source: of the images.
        recipe: of the views.
        config: of the run.
        directory: created already.
        evaluation: what to score on the way, and at the end.

    Returns:
        the lines of metrics.jsonl, one at least.
    """
    total_steps = config.total_steps(source.num_examples)
    checkpoints = Checkpoints(directory.checkpoints, model)
    first_step = checkpoints.restore()
    if evaluation is not None:
        evaluation.begin(first_step)
        if first_step == total_steps:  # stopped between the last step and its score
            evaluation(first_step)
    if not first_step:
        _draw_batch(directory, source, recipe, config)
    if first_step < total_steps:
        batches = data.two_views(
            source,
            recipe,
            image_size=config.image_size,
            global_batch_size=config.global_batch_size,
            seed=config.seed,
            start_step=first_step,
        )
        with run_logs.Logs(
            directory.metrics,
            directory.tensorboard,
            first_step=first_step,
            total_steps=total_steps,
            global_batch_size=config.global_batch_size,
        ) as logs:
            train(
                model,
                batches,
                steps=range(first_step, total_steps),
                checkpoints=checkpoints,
                logs=logs,
                log_every=config.log_every_steps,
                checkpoint_every=config.checkpoint_every_steps,
                evaluate_every=None if evaluation is None else evaluation.every,
                evaluate=evaluation,
            )
    if source.num_skipped:
        print(f"{source.num_skipped} unreadable images were passed over; the log names them.")
    # A line may be damaged and still be JSON.
    lines = [line for line in run_logs.read(directory.metrics) if line.keys() >= _CONCLUDED]
    if not lines:
        raise UserError(
            f"Expected the values of the run's steps in {directory.metrics}. Received: none that "
            f"can be read. Remove the file and {directory.checkpoints} to repeat the run."
        )
    return lines


def describe(
    config: TrainingConfig, source: data.Source, strategy: devices.Strategy, *, doing: str
) -> None:
    """Prints what is about to happen, before anything long."""
    total = config.total_steps(source.num_examples)
    epochs = total * config.global_batch_size / source.num_examples
    print(
        f"{doing}\n"
        f"  images    {source.num_examples} of {source.name}, {config.image_size} px"
        f"{data.noted(source)}\n"
        f"  length    {total} steps of {config.global_batch_size} images: {epochs:.3g} epochs, "
        f"{config.warmup_steps(source.num_examples)} steps of warm-up\n"
        f"  devices   {devices.describe(strategy)}, {config.precision}\n"
        f"  workdir   {config.workdir}",
        flush=True,
    )


def draw(
    directory: RunDirectory,
    source: data.Source,
    lines: list[dict[str, float]],
    networks: Mapping[str, Callable[[np.ndarray], Any]],
    *,
    image_size: int,
    chance: float,
    num_images: int = 6,
) -> None:
    """Draws how the run went, and what networks make of some images without augmentation.

    Args:
        directory: of the run.
        source: of the images to show.
        lines: those of metrics.jsonl.
        networks: by title, images of 0..255 (n, S, S, 3) -> map (n, H, W, D).
        image_size: that of the training.
        chance: retrieval top-1 of guessing.
        num_images: how many are shown.
    """
    pictures.draw_curves(lines, directory.pictures / "curves.png", chance=chance)
    indices = source.examples_to_show(num_images)
    images = data.plain_images(source, image_size=PICTURE_SCALE * image_size, indices=indices)
    maps = {
        name: keras.ops.convert_to_numpy(keras.ops.cast(network(images), "float32"))
        for name, network in networks.items()
    }
    pictures.draw_maps(images, maps, directory.pictures / "principal_components.png")
    middle = next(iter(maps.values())).shape[1] // 2
    pictures.draw_similarity(
        images, maps, directory.pictures / "similarity.png", pixel=(middle, middle)
    )


@errors.translated()
def _draw_batch(
    directory: RunDirectory, source: data.Source, recipe: data.Recipe, config: TrainingConfig
) -> None:
    """Draws the first images of the run as the network sees them, from a stream of their own."""
    stream = data.two_views(
        source,
        recipe,
        image_size=config.image_size,
        global_batch_size=min(pictures.NUM_SHOWN, config.global_batch_size),
        seed=config.seed,
    )
    (batch,) = stream.take(1).as_numpy_iterator()
    views = batch["images"]  # [B, 2, S, S, 3]
    images = views.reshape(-1, *views.shape[2:])  # [2B, S, S, 3]
    coloured = Photometric()(images, batch["photometric"].reshape(len(images), -1))
    coloured = keras.ops.convert_to_numpy(coloured).round().astype(np.uint8)
    batch["images"] = coloured.reshape(views.shape)  # [B, 2, S, S, 3]
    pictures.draw_batches([batch], directory.pictures / "batch.png")


def conclude(
    directory: RunDirectory,
    source: data.Source,
    lines: list[dict[str, float]],
    *,
    chance: float,
    best: Mapping[str, Any] | None = None,
) -> None:
    """Marks the run as finished, once all else of it is written, and says how it went.

    Args:
        directory: of the run.
        source: of its images.
        lines: those of metrics.jsonl.
        chance: retrieval top-1 of guessing.
        best: what result.json says of the product where it is not the last one.
    """
    first, last = lines[0], lines[-1]
    found = {} if best is None else {"best": dict(best)}
    directory.finish(first=first, last=last, num_skipped=source.num_skipped, **found)
    print(
        f"Done: loss {first['loss']:.3f} -> {last['loss']:.3f}, retrieval top-1 "
        f"{first['retrieval_top1']:.1%} -> {last['retrieval_top1']:.1%} (chance {chance:.2g}), "
        f"feature spread {last['feature_spread']:.2f} (0 would be a collapse).\n"
        f"  pictures  {directory.pictures}"
    )
