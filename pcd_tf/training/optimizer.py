"""The optimizer that a training job's settings ask for."""

import keras

from pcd_tf.configs.finetune import Config as FinetuneConfig
from pcd_tf.configs.training import TrainingConfig
from pcd_tf.optimizers import LARS, SGD
from pcd_tf.schedules import WarmupSteps, scaled_rate, warmup_cosine

MOMENTUM = 0.9  # of all recipes

# Where the rate falls, in parts of the run: after 60 and 80 of Detectron2's 90 thousand steps.
STEPS = (2 / 3, 8 / 9)
_IMAGES_OF_RATE = 16  # that a fine-tuning rate is given for


def build(config: TrainingConfig, num_examples: int) -> keras.optimizers.Optimizer:
    """Makes the optimizer, its rate scaled by the global batch and scheduled over the whole run.

    Raises:
        ValueError: when the warm-up is longer than the run on this data.
    """
    rate = warmup_cosine(
        scaled_rate(config.learning_rate, config.global_batch_size),
        config.warmup_steps(num_examples),
        config.total_steps(num_examples),
    )
    kind = LARS if config.optimizer == "lars" else SGD
    return kind(rate, momentum=MOMENTUM, weight_decay=config.weight_decay)


def for_finetuning(config: FinetuneConfig, num_examples: int) -> keras.optimizers.Optimizer:
    """Makes the SGD of a fine-tuning run, its rate scaled by the global batch.

    Raises:
        ValueError: when the warm-up is longer than the run on this data.
    """
    warmup, total = config.warmup_steps(num_examples), config.total_steps(num_examples)
    if config.schedule == "cosine":
        rate = warmup_cosine(peak(config), warmup, total)
    else:
        rate = WarmupSteps(peak(config), warmup, [round(part * total) for part in STEPS])
    return SGD(rate, momentum=MOMENTUM, weight_decay=config.weight_decay)


def peak(config: FinetuneConfig) -> float:
    """The highest learning rate of a fine-tuning run, scaled by the global batch."""
    return config.base_rate * config.global_batch_size / _IMAGES_OF_RATE
