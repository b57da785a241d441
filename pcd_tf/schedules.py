"""Values that change with the step: the learning rate and MoCo v3's momentum."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops


def scaled_rate(base: float, global_batch_size: int) -> float:
    """Learning rate of a global batch by the linear rule: `base * global_batch_size / 256`.

    The batch is the one over all replicas, so the rate does not change with their number.

    Source: Goyal et al., "Accurate, Large Minibatch SGD", 2017, arXiv 1706.02677, section 2.1.

    Args:
        base: rate for a batch of 256.
        global_batch_size: examples of one step, over all replicas.

    Returns: the rate.

    Raises: ValueError: when `global_batch_size` is not positive.

    Example:
        >>> scaled_rate(1.0, 1024)
        4.0
    """
    if global_batch_size <= 0:
        raise ValueError(
            "`global_batch_size` must be positive. "
            f"Received: global_batch_size={global_batch_size}."
        )
    return base * global_batch_size / 256


def warmup_cosine(
    peak: float, warmup_steps: int, total_steps: int
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Learning rate that rises linearly from 0, then falls to 0 along half a cosine.

    Step 0 has rate 0 (without a warm-up: `peak`), step `warmup_steps` has `peak`, step
    `total_steps` and all later ones have 0.

    Args:
        peak: rate at the end of the warm-up.
        warmup_steps: steps of the rise, 0 for none.
        total_steps: steps of rise and fall together.

    Returns: a `keras.optimizers.schedules.CosineDecay`.

    Raises: ValueError: unless 0 <= warmup_steps < total_steps.

    Example:
        >>> rate = warmup_cosine(peak=2.0, warmup_steps=10, total_steps=100)
        >>> [round(float(rate(step)), 6) for step in (0, 5, 10, 55, 100)]
        [0.0, 1.0, 2.0, 1.0, 0.0]
    """
    if not 0 <= warmup_steps < total_steps:
        raise ValueError(
            "The warm-up must be shorter than the run: 0 <= warmup_steps < total_steps. Train for "
            "more steps or warm up for fewer. "
            f"Received: warmup_steps={warmup_steps}, total_steps={total_steps}."
        )
    if warmup_steps == 0:
        return keras.optimizers.schedules.CosineDecay(float(peak), total_steps)
    return keras.optimizers.schedules.CosineDecay(
        0.0, total_steps - warmup_steps, warmup_target=float(peak), warmup_steps=warmup_steps
    )


@keras.saving.register_keras_serializable(package="pcd_tf")
class WarmupSteps(keras.optimizers.schedules.LearningRateSchedule):
    """Learning rate that rises linearly from 0, then falls by a factor at given steps.

    Source: Detectron2's WarmupMultiStepLR, with MoCo's boundaries and its warm-up from 0.

    Args:
        peak: rate at the end of the warm-up.
        warmup_steps: steps of the rise, 0 for none.
        boundaries: steps from which on the rate is multiplied by `factor` once more.
        factor: float, 0.1 by default.

    Example:
        >>> rate = WarmupSteps(2.0, 10, [60, 80])
        >>> [round(float(rate(step)), 6) for step in (0, 5, 10, 59, 60, 80)]
        [0.0, 1.0, 2.0, 2.0, 0.2, 0.02]
    """

    def __init__(
        self, peak: float, warmup_steps: int, boundaries: Sequence[int], factor: float = 0.1
    ) -> None:
        super().__init__()
        self.peak = float(peak)
        self.warmup_steps = warmup_steps
        self.boundaries = list(boundaries)
        self.factor = factor

    def __call__(self, step: Any) -> Any:
        step = ops.cast(step, "float32")
        rise = ops.minimum(step / max(self.warmup_steps, 1), 1.0) if self.warmup_steps else 1.0
        passed = sum(ops.cast(step >= boundary, "float32") for boundary in self.boundaries)
        return self.peak * rise * ops.power(self.factor, passed)

    def get_config(self) -> dict[str, Any]:
        return {
            "peak": self.peak,
            "warmup_steps": self.warmup_steps,
            "boundaries": self.boundaries,
            "factor": self.factor,
        }


def cosine_momentum(start: float, step: Any, total_steps: int) -> Any:
    """Momentum of MoCo v3's slow encoder: from `start` at step 0 to 1 at `total_steps`.

    1 - (1 - start) * (cos(pi * step / total_steps) + 1) / 2; 1 after the last step.

    Source: Chen, Xie, He, "An Empirical Study of Training Self-Supervised Vision Transformers",
    2021, arXiv 2104.02057; its public code, `adjust_moco_momentum`.

    Args:
        start: momentum at step 0.
        step: int or float, number or scalar tensor: the optimizer's step.
        total_steps: steps of the whole run.

    Returns: float32 scalar tensor.

    Raises: ValueError: when `total_steps` is not positive.

    Example:
        >>> round(float(cosine_momentum(0.99, 50, 100)), 6)
        0.995
    """
    if total_steps <= 0:
        raise ValueError(f"`total_steps` must be positive. Received: total_steps={total_steps}.")
    progress = ops.minimum(ops.cast(step, "float32") / total_steps, 1.0)
    return 1.0 - (1.0 - start) * (ops.cos(math.pi * progress) + 1.0) / 2.0
