"""The optimizer is the one that the settings describe."""

from typing import Any

import keras
import numpy as np
import pytest

from pcd_tf.configs.distill import Config
from pcd_tf.configs.finetune import Config as FinetuneConfig
from pcd_tf.optimizers import LARS, SGD
from pcd_tf.training import optimizer


def build(num_examples=640, **settings):
    given = {"global_batch_size": 64, "num_steps": 100, "warmup_epochs": 1.0, **settings}
    return optimizer.build(Config(**given), num_examples)


@pytest.mark.parametrize(("name", "kind"), [("lars", LARS), ("sgd", SGD)])
def test_rate_is_scaled_by_the_global_batch_and_warmed_up(name, kind):
    made = build(optimizer=name, learning_rate=2.0, weight_decay=1e-3)
    assert isinstance(made, kind)
    assert made.momentum == 0.9
    assert made.kernel_decay == 1e-3
    rates = [float(made._learning_rate(step)) for step in (0, 5, 10, 55, 100)]
    assert rates == pytest.approx([0.0, 0.25, 0.5, 0.25, 0.0], abs=1e-6)  # 2 * 64 / 256 at 10


@pytest.mark.parametrize("name", ["lars", "sgd"])
def test_decay_acts_on_kernels_alone(name):
    network = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(3), keras.layers.BatchNormalization()]
    )
    network.set_weights([weight * 0 + 1 for weight in network.get_weights()])
    made = build(optimizer=name, learning_rate=8.0, weight_decay=0.1, warmup_epochs=0.0)
    made.build(network.trainable_variables)
    none = [keras.ops.zeros(variable.shape) for variable in network.trainable_variables]
    made.apply(none, network.trainable_variables)
    for variable in network.trainable_variables:
        moved = keras.ops.convert_to_numpy(variable).max() < 1
        assert moved == (variable.name == "kernel"), variable.name


def test_decay_of_sgd_means_the_same_in_every_job():
    same: dict[str, Any] = {
        "weight_decay": 1e-3,
        "num_steps": 100,
        "warmup_epochs": 0.0,
        "global_batch_size": 16,
    }
    distilling = optimizer.build(Config(optimizer="sgd", learning_rate=1.6, **same), 640)
    finetuning = FinetuneConfig(learning_rate=0.1, schedule="cosine", **same)
    kernels = []
    for made in (distilling, optimizer.for_finetuning(finetuning, 640)):
        kernel = keras.Variable(keras.ops.ones((2, 2)), name="kernel")
        made.build([kernel])
        for _ in range(3):
            made.apply([keras.ops.zeros((2, 2))], [kernel])
        kernels.append(keras.ops.convert_to_numpy(kernel))
    np.testing.assert_array_equal(*kernels)
    assert kernels[0].max() < 1


def test_a_warm_up_longer_than_the_run_is_refused():
    with pytest.raises(ValueError, match="warm-up shorter than the run of 100 steps"):
        build(warmup_epochs=20.0)
