"""MoCoV3: its loss by definition, its momentum encoder, and that replicas change nothing."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from pcd_tf.models import MoCoV3
from tests import toys

TEMPERATURE = 0.3


def build(*, rate=0.1, momentum=0.9):
    """A MoCoV3 of toys, compiled with SGD; the same weights at each call."""
    keras.utils.set_random_seed(3)
    model = MoCoV3(
        toys.encoder(),
        toys.encoder(),
        mean=toys.MEAN,
        std=toys.STD,
        temperature=TEMPERATURE,
        momentum=momentum if callable(momentum) else lambda step: momentum,
        hidden_units=16,
    )
    model.compile(optimizer=keras.optimizers.SGD(rate, momentum=0.9), jit_compile=False)
    return model


def apart(model):
    """Sets the momentum encoder to weights of its own."""
    toys.scramble(model.momentum_encoder.trainable_variables, seed=7)
    return model


def arrays(variables):
    return [np.array(variable) for variable in variables]


def step(model, batch):
    logs = model.train_step({name: tf.constant(x) for name, x in batch.items()})
    return {name: float(value) for name, value in logs.items()}


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def contrast(queries, keys):
    """`ctr` of algorithm 1: 2 T times the cross-entropy of q k' / T with the diagonal."""
    logits = unit(queries) @ unit(keys).T / TEMPERATURE
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = shifted / shifted.sum(axis=1, keepdims=True)
    found = logits.argmax(axis=1) == np.arange(len(logits))
    return 2 * TEMPERATURE * -np.log(np.diag(probabilities)).mean(), found.mean()


def test_the_loss_is_that_of_algorithm_1():
    model, batch = apart(build(momentum=1.0)), toys.batch(8)
    images = model.views_to_images({name: tf.constant(x) for name, x in batch.items()})
    views = images[0::2], images[1::2]
    q1, q2 = (np.array(model(view, training=True), "float64") for view in views)
    k1, k2 = (np.array(model.momentum_encoder(view, training=True), "float64") for view in views)
    (loss1, found1), (loss2, found2) = contrast(q1, k2), contrast(q2, k1)
    logs = step(model, batch)
    assert logs["loss"] == pytest.approx(loss1 + loss2, rel=1e-5)
    assert logs["retrieval_top1"] == pytest.approx((found1 + found2) / 2)
    spread = np.sqrt(1 - np.square(unit(q1).mean(axis=0)).sum())
    assert logs["feature_spread"] == pytest.approx(spread, abs=1e-5)


def test_the_momentum_encoder_starts_as_the_encoder_and_follows_exactly():
    model = build(momentum=0.8)
    fast, slow = model.encoder.trainable_variables, model.momentum_encoder.trainable_variables
    for one, other in zip(fast, slow, strict=True):
        np.testing.assert_array_equal(one, other)
    apart(model)
    fast_before, slow_before = arrays(fast), arrays(slow)
    step(model, toys.batch(8))
    for old, followed, new in zip(slow_before, fast_before, slow, strict=True):
        np.testing.assert_allclose(new, 0.8 * old + 0.2 * followed, rtol=1e-5, atol=1e-7)
    assert any(
        np.abs(old - np.array(new)).max() > 1e-3 for old, new in zip(fast_before, fast, strict=True)
    )


def test_the_momentum_is_that_of_the_step():
    model = apart(build(rate=0.0, momentum=lambda step: keras.ops.cast(step, "float32") / 2))
    fast, slow = model.encoder.trainable_variables, model.momentum_encoder.trainable_variables
    step(model, toys.batch(8))  # step 0: momentum 0, so all of the encoder is taken over
    for one, other in zip(fast, slow, strict=True):
        np.testing.assert_array_equal(one, other)
    apart(model)
    before = arrays(slow)
    step(model, toys.batch(8))  # step 1: half
    for old, followed, new in zip(before, fast, slow, strict=True):
        np.testing.assert_allclose(new, (old + np.array(followed)) / 2, rtol=1e-5, atol=1e-7)


def test_keys_get_no_gradient_but_statistics():
    model = apart(build(momentum=1.0))
    slow = {id(variable) for variable in model.momentum_encoder.variables}
    assert slow.isdisjoint(map(id, model.trainable_variables))
    assert slow.isdisjoint(map(id, model.optimizer.variables))
    weights = arrays(model.momentum_encoder.trainable_variables)
    statistics = arrays(model.momentum_encoder.non_trainable_variables)
    assert statistics
    step(model, toys.batch(8))
    for old, new in zip(weights, model.momentum_encoder.trainable_variables, strict=True):
        np.testing.assert_array_equal(old, new)
    for old, new in zip(statistics, model.momentum_encoder.non_trainable_variables, strict=True):
        assert np.abs(old - np.array(new)).max() > 1e-4


def test_what_is_trained_is_encoder_and_predictor():
    model = build()
    trained = [*model.encoder.trainable_variables, *model.predictor.trainable_variables]
    assert [id(v) for v in model.trainable_variables] == [id(v) for v in trained]
    before = arrays(trained)
    step(model, toys.batch(8))
    for old, new in zip(before, trained, strict=True):
        assert np.abs(old - np.array(new)).max() > 0, new.path


def fit(model, num_steps=5):
    history = []
    keep = keras.callbacks.LambdaCallback(on_train_batch_end=lambda _, logs: history.append(logs))
    batches = toys.batches(8)
    model.fit(batches, steps_per_epoch=num_steps, shuffle=False, verbose=0, callbacks=[keep])
    return history


def test_two_replicas_train_as_one_device(two_replicas):
    alone = build()
    start = arrays(alone.weights)
    logs = fit(alone)
    with two_replicas.scope():
        mirrored = build()
    for one, two in zip(start, arrays(mirrored.weights), strict=True):
        np.testing.assert_array_equal(one, two)
    mirrored_logs = fit(mirrored)

    assert len(logs) == len(mirrored_logs) == 5
    for one, two in zip(logs, mirrored_logs, strict=True):
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-4)
        assert two["retrieval_top1"] == pytest.approx(one["retrieval_top1"], abs=1e-6)
    for one, two, old in zip(alone.weights, mirrored.weights, start, strict=True):
        for values in two_replicas.experimental_local_results(two.value):
            distance = np.linalg.norm(np.array(values) - np.array(one))
            assert distance <= 1e-4 * np.linalg.norm(one) + 1e-6, one.path
        if one.name == "kernel":
            assert np.linalg.norm(np.array(one) - old) > 1e-3 * np.linalg.norm(one), one.path


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_a_step_in_mixed_precision_is_near_float32(policy):
    batch = toys.batch(8)
    expected = step(build(), batch)["loss"]
    keras.config.set_dtype_policy(policy)
    model = build()
    assert step(model, batch)["loss"] == pytest.approx(expected, rel=0.03)
    assert all(np.isfinite(x).all() for x in arrays(model.weights))


def test_evaluate_gives_the_means_over_all_images_and_changes_nothing():
    model = apart(build())
    batches = [toys.batch(8, seed) for seed in (0, 1)]
    dataset = tf.data.Dataset.from_tensor_slices(
        {name: np.concatenate([x[name] for x in batches]) for name in batches[0]}
    ).batch(8)
    before = arrays(model.variables)
    scores = model.evaluate(dataset, verbose=0, return_dict=True)
    expected = []
    for batch in batches:
        images = model.views_to_images({name: tf.constant(x) for name, x in batch.items()})
        views = images[0::2], images[1::2]
        keys = [np.array(model.momentum_encoder(x, training=False)) for x in views]
        queries = [np.array(model(x, training=False)) for x in views]
        one, other = contrast(queries[0], keys[1]), contrast(queries[1], keys[0])
        expected.append((one[0] + other[0], (one[1] + other[1]) / 2))
    loss, found = np.mean(expected, axis=0)
    assert scores == pytest.approx({"loss": loss, "retrieval_top1": found}, rel=1e-4)
    for one, two in zip(before, arrays(model.variables), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.slow
def test_fit_takes_validation_data_with_and_without_replicas(two_replicas):
    settings = {"steps_per_epoch": 1, "validation_steps": 1, "shuffle": False, "verbose": 0}
    alone = build().fit(toys.batches(8), validation_data=toys.batches(8), **settings).history
    with two_replicas.scope():
        mirrored = build()
    both = mirrored.fit(toys.batches(8), validation_data=toys.batches(8), **settings).history
    assert both.keys() == alone.keys() >= {"val_loss", "val_retrieval_top1"}
    np.testing.assert_allclose(both["val_loss"], alone["val_loss"], rtol=1e-3)


def test_an_encoder_without_vectors_is_refused():
    for encoder in (toys.backbone(8), keras.Model()):
        with pytest.raises(ValueError, match=r"Expected an encoder that gives vectors \(N, D\)"):
            MoCoV3(encoder, encoder, mean=toys.MEAN, std=toys.STD)
