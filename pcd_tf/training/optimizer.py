"""The optimizer that a training job's settings ask for."""

import keras

from pcd_tf.configs.training import TrainingConfig
from pcd_tf.optimizers import LARS
from pcd_tf.schedules import scaled_rate, warmup_cosine

MOMENTUM = 0.9  # of both recipes


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
    if config.optimizer == "lars":
        return LARS(rate, momentum=MOMENTUM, weight_decay=config.weight_decay)
    # Keras decays weights apart from the gradient, scaled by the rate; kernels alone, as with LARS.
    optimizer = keras.optimizers.SGD(rate, momentum=MOMENTUM, weight_decay=config.weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer
