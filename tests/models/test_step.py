"""What the train steps share: views to images, and a step that all replicas skip or none."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from pcd_tf.layers import Photometric
from pcd_tf.models import Distiller, _step
from tests import toys


def test_views_become_normalised_images_and_stay_neighbours():
    batch = toys.batch(3)
    layer = _step.ViewsToImages(toys.MEAN, toys.STD)
    images = np.array(layer(batch))
    assert images.shape == (6, toys.SIZE, toys.SIZE, 3)
    for i in range(3):
        for view in range(2):
            coloured = Photometric()(
                batch["images"][i, view][None], batch["photometric"][i, view][None]
            )
            expected = (np.array(coloured)[0] - toys.MEAN) / toys.STD
            np.testing.assert_allclose(images[2 * i + view], expected, atol=1e-4)


def test_images_stay_float32_in_mixed_precision():
    keras.config.set_dtype_policy("mixed_float16")
    assert _step.ViewsToImages(toys.MEAN, toys.STD)(toys.batch(2)).dtype == "float32"


def test_sums_and_stacks_over_replicas(two_replicas):
    def replica():
        number = tf.distribute.get_replica_context().replica_id_in_sync_group
        value = tf.cast([[number], [number + 10]], tf.float32)
        return _step.sum_over_replicas(value), _step.gather_over_replicas(value)

    total, stacked = tf.function(two_replicas.run)(replica)
    for local in two_replicas.experimental_local_results(total):
        assert np.array(local).tolist() == [[1.0], [21.0]]
    for local in two_replicas.experimental_local_results(stacked):
        assert np.array(local).ravel().tolist() == [0.0, 10.0, 1.0, 11.0]


def test_without_replicas_values_are_as_they_are():
    value = tf.ones((2, 3))
    assert _step.num_replicas() == 1
    assert _step.sum_over_replicas(value) is value
    assert _step.gather_over_replicas(value) is value


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
        _step.synchronize(model)
    assert block.norm.synchronized
    _step.synchronize(model)
    assert not block.norm.synchronized
    _step.synchronize(block.norm)


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
            _step.apply_gradients(optimizer, [tf.constant([8.0, 16.0]) * factor], [weight])

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
