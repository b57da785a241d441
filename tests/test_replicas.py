"""Sums, statistics and gradients over replicas: all skip a step or none, all clip alike."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from pcd_tf import replicas
from pcd_tf.models import Distiller
from tests import toys


def test_sums_and_stacks_over_replicas(two_replicas):
    def replica():
        number = tf.distribute.get_replica_context().replica_id_in_sync_group
        value = tf.cast([[number], [number + 10]], tf.float32)
        return replicas.sum_over_replicas(value), replicas.gather_over_replicas(value)

    total, stacked = tf.function(two_replicas.run)(replica)
    for local in two_replicas.experimental_local_results(total):
        assert np.array(local).tolist() == [[1.0], [21.0]]
    for local in two_replicas.experimental_local_results(stacked):
        assert np.array(local).ravel().tolist() == [0.0, 10.0, 1.0, 11.0]


def test_without_replicas_values_are_as_they_are():
    value = tf.ones((2, 3))
    assert replicas.num_replicas() == 1
    assert replicas.sum_over_replicas(value) is value
    assert replicas.gather_over_replicas(value) is value


def test_norms_that_a_layer_holds_in_attributes_are_synchronised_too(two_replicas):
    class Block(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.norm = keras.layers.BatchNormalization()

        def call(self, x):
            return self.norm(x)

    images = keras.Input((None, None, 3))
    block = Block()
    inner = keras.Model(images, block(images))
    model = keras.Model(images, inner(images))
    with two_replicas.scope():
        replicas.synchronize(model)
    assert block.norm.synchronized
    replicas.synchronize(model)
    assert not block.norm.synchronized
    replicas.synchronize(block.norm)


@pytest.mark.parametrize("overflowing", [None, 0, 1])
def test_an_overflow_on_any_replica_makes_all_skip_the_step(overflowing, two_replicas):
    with two_replicas.scope():
        weight = keras.Variable(np.ones(2, "float32"))
        sgd = keras.optimizers.SGD(0.5)
        optimizer = keras.optimizers.LossScaleOptimizer(sgd, initial_scale=8.0)
        optimizer.build([weight])

    @tf.function
    def step():
        def replica():
            number = tf.distribute.get_replica_context().replica_id_in_sync_group
            bad = tf.constant(-1 if overflowing is None else overflowing)
            factor = tf.where(tf.equal(number, bad), np.inf, 1.0)
            replicas.apply_gradients(optimizer, [tf.constant([8.0, 16.0]) * factor], [weight])

        two_replicas.run(replica)

    step()
    moved = overflowing is None
    expected = [0.0, -1.0] if moved else [1.0, 1.0]  # 1 - 0.5 * the sum over two replicas / 8
    for local in two_replicas.experimental_local_results(weight.value):
        np.testing.assert_allclose(local, expected)
    assert float(np.array(optimizer.dynamic_scale)) == (8.0 if moved else 4.0)
    assert int(np.array(sgd.iterations)) == int(moved)


def test_a_step_in_float16_on_two_replicas(two_replicas):
    keras.config.set_dtype_policy("mixed_float16")
    with two_replicas.scope():
        model = Distiller(toys.teacher(), toys.backbone(16), queue_size=toys.QUEUE_SIZE, seed=0)
        model.compile(optimizer=keras.optimizers.SGD(0.1), jit_compile=False)
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    before = [np.array(v) for v in model.trainable_variables]
    history = model.fit(toys.batches(8), steps_per_epoch=2, shuffle=False, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert int(np.array(model.optimizer.inner_optimizer.iterations)) == 2
    kernels = [
        (old, np.array(new))
        for old, new in zip(before, model.trainable_variables, strict=True)
        if new.name == "kernel"
    ]
    assert all(np.isfinite(new).all() for _, new in kernels)
    assert sum(np.abs(new - old).max() > 0 for old, new in kernels) >= 5


@pytest.mark.parametrize("scale", [None, 8.0])
def test_clipping_looks_at_the_whole_gradient_over_all_replicas(scale, two_replicas):
    """Parts (3, 0) and (0, 4) make a gradient of norm 5, whatever either replica's norm is."""
    with two_replicas.scope():
        weight = keras.Variable(np.zeros(2, "float32"))
        optimizer = keras.optimizers.SGD(1.0)
        if scale is not None:
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=scale)
        optimizer.build([weight])

    @tf.function
    def step(clip_norm):
        def replica():
            number = tf.distribute.get_replica_context().replica_id_in_sync_group
            part = tf.where(tf.equal(number, 0), [3.0, 0.0], [0.0, 4.0]) * (scale or 1.0)
            replicas.apply_gradients(optimizer, [part], [weight], clip_norm=clip_norm)

        two_replicas.run(replica)

    step(10.0)
    np.testing.assert_allclose(np.array(weight), [-3.0, -4.0], rtol=1e-6)
    step(2.5)
    np.testing.assert_allclose(np.array(weight), [-4.5, -6.0], rtol=1e-6)
