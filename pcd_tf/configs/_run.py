"""The settings of every run of training: its length, its machine, where it is written."""

import dataclasses
import math
from collections.abc import Iterator
from typing import ClassVar

from pcd_tf.configs._bounds import EPOCHS, SEED, SIDE, STEPS, TRAINING_BATCH
from pcd_tf.configs._outputs import problem_of_output
from pcd_tf.errors import UserError
from pcd_tf.settings import Conflict, Settings, setting

DEFAULT_NUM_EPOCHS = 100
DEFAULT_WARMUP_EPOCHS = 10.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig(Settings):
    """Length, schedule and machine of a run. Each kind of training adds its images and recipe."""

    default_num_epochs: ClassVar[int] = DEFAULT_NUM_EPOCHS
    default_warmup_epochs: ClassVar[float] = DEFAULT_WARMUP_EPOCHS

    image_size: int = setting(
        224,
        help="Height and width of a view.",
        group="data",
        source="[code]",
        unit="pixels",
        minimum=32,
        multiple_of=32,
        reason="The last feature map has one pixel for each 32 of the image.",
        **SIDE,
    )
    global_batch_size: int = setting(
        help="Images in a step, over all replicas together.",
        group="training",
        source="[code]",
        unit="images",
        minimum=2,
        **TRAINING_BATCH,
    )
    num_epochs: int | None = setting(
        None,
        help="Length of the run in passes over the data. Give this or --num_steps.",
        group="training",
        source="[code]",
        unit="epochs",
        minimum=1,
        **EPOCHS,
        when_none=f"{DEFAULT_NUM_EPOCHS}, unless --num_steps is given",
    )
    num_steps: int | None = setting(
        None,
        help="Length of the run in steps, instead of --num_epochs.",
        group="training",
        source="[ours]",
        unit="steps",
        **STEPS,
        when_none="as many as --num_epochs makes",
    )
    weight_decay: float = setting(
        help="Weight decay, added to the gradient before the momentum, as PyTorch does. On kernels "
        "only: none on biases, normalisations, tokens and positions.",
        group="training",
        source="[code]",
        minimum=0,
        maximum=1,
        maximum_reason="Above 1, a step at a rate of 1 would take more than all of a weight.",
    )
    warmup_epochs: float | None = setting(
        None,
        help="Over how many epochs the rate rises from 0. Must be shorter than the run.",
        group="training",
        source="[code]",
        unit="epochs",
        minimum=0,
        **EPOCHS,
        when_none=f"{DEFAULT_WARMUP_EPOCHS:g}, but at most a tenth of the run",
    )
    workdir: str = setting(
        "",
        help="Where everything of this run is written. An unfinished run there is resumed, a "
        "finished one is left alone.",
        group="run",
        source="[ours]",
        unit="directory",
    )
    strategy: str = setting(
        "auto",
        help="How the devices are used. mirrored: one replica on each; auto: mirrored when there "
        "are several, else one_device.",
        group="run",
        source="[ours]",
        choices=("auto", "one_device", "mirrored"),
    )
    num_virtual_devices: int = setting(
        1,
        help="Cuts the CPU into this many devices, to try several replicas without GPUs.",
        group="run",
        source="[ours]",
        minimum=1,
        maximum=64,
        maximum_reason="Each has a copy of the model, and all share the one CPU.",
    )
    precision: str = setting(
        "float32",
        help="What layers compute in; weights, losses and the saved student stay float32. On "
        "NVIDIA GPUs since Ampere TensorFlow multiplies float32 in TensorFloat-32.",
        group="run",
        source="[ours]",
        choices=("float32", "mixed_bfloat16", "mixed_float16"),
    )
    seed: int = setting(
        0,
        help="Start of all randomness: the same seed repeats a run, on GPUs up to rounding.",
        group="run",
        source="[ours]",
        **SEED,
    )
    log_every_steps: int = setting(
        10,
        help="How often a line goes to metrics.jsonl and TensorBoard.",
        group="run",
        source="[ours]",
        unit="steps",
        **STEPS,
    )
    checkpoint_every_steps: int = setting(
        1000,
        help="How often a checkpoint is written, to resume from.",
        group="run",
        source="[ours]",
        unit="steps",
        **STEPS,
    )

    def total_steps(self, num_examples: int) -> int:
        """Returns the length of the run in steps; a last part of a batch counts as one."""
        if self.num_steps is not None:
            return self.num_steps
        num_epochs = self.default_num_epochs if self.num_epochs is None else self.num_epochs
        return math.ceil(num_epochs * num_examples / self.global_batch_size)

    def warmup_steps(self, num_examples: int) -> int:
        """Returns the length of the warm-up in steps.

        Raises:
            UserError: when a warm-up that was asked for leaves nothing of the run.
        """
        total = self.total_steps(num_examples)
        steps_per_epoch = num_examples / self.global_batch_size
        if self.warmup_epochs is None:
            return min(round(self.default_warmup_epochs * steps_per_epoch), total // 10)
        steps = round(self.warmup_epochs * steps_per_epoch)
        if steps >= total:
            raise UserError(
                f"warmup_epochs: expected a warm-up shorter than the run of {total} steps. "
                f"Received: {self.warmup_epochs:g} epochs, which are {steps} steps of this data. "
                "Shorten it, or leave it out: it is then at most a tenth of the run."
            )
        return steps

    def conflicts(self) -> Iterator[Conflict]:
        yield from super().conflicts()
        yield from self._schedule_conflicts()
        yield from self._device_conflicts()
        if problem := problem_of_output(self.workdir):
            yield ("workdir",), problem

    def _schedule_conflicts(self) -> Iterator[Conflict]:
        if self.num_epochs is not None and self.num_steps is not None:
            yield ("num_steps", "num_epochs"), "give this or num_epochs, not both."
        if self.warmup_epochs is None or self.num_steps is not None:
            return
        num_epochs = self.default_num_epochs if self.num_epochs is None else self.num_epochs
        if self.warmup_epochs >= num_epochs:
            names = ("warmup_epochs", "num_epochs", "num_steps")
            yield (
                names,
                f"expected fewer than the {num_epochs} epochs of the run. "
                f"Received: {self.warmup_epochs:g}.",
            )

    def _device_conflicts(self) -> Iterator[Conflict]:
        count = self.num_virtual_devices
        if count > 1 and self.strategy == "one_device":
            names = ("num_virtual_devices", "strategy")
            yield names, "strategy=one_device uses only one. Set strategy to mirrored."
        elif self.global_batch_size % count:
            names = ("global_batch_size", "num_virtual_devices")
            fitting = max(1, self.global_batch_size // count) * count
            yield (
                names,
                f"expected a multiple of num_virtual_devices={count}, {fitting} for example. "
                f"Received: {self.global_batch_size}.",
            )
