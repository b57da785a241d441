from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from pcd_tf.layers import ProjectionHead


def random_maps(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(1.0, 2.0, shape).astype("float32")


def randomise(head: Any, seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    for weight in head.weights:
        weight.assign(rng.uniform(0.2, 1.5, weight.shape))


@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize("last_norm", [False, True])
def test_layers_of_the_head(num_layers: int, last_norm: bool) -> None:
    head = ProjectionHead(16, 4, num_layers=num_layers, last_norm=last_norm)
    head.build((None, 7, 7, 8))
    block = ["Dense", "BatchNormalization", "ReLU"]
    expected = block * (num_layers - 1) + ["Dense"] + ["BatchNormalization"] * last_norm
    assert [type(layer).__name__ for layer in head.layers] == expected
    dense = [layer for layer in head.layers if isinstance(layer, keras.layers.Dense)]
    assert [layer.units for layer in dense] == [16] * (num_layers - 1) + [4]
    assert not any(layer.use_bias for layer in dense)


def test_the_last_norm_has_no_scale_and_shift() -> None:
    head = ProjectionHead(16, 4, last_norm=True)
    head.build((None, 8))
    assert [w.name for w in head.layers[1].trainable_weights] == ["gamma", "beta"]
    assert head.layers[-1].trainable_weights == []
    out = np.asarray(head(random_maps(64, 8), training=True))
    np.testing.assert_allclose(out.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(out.std(0), 1, atol=1e-3)


@pytest.mark.parametrize("size", [(1, 1), (3, 5)])
@pytest.mark.parametrize("training", [False, True])
def test_maps_are_vectors_at_each_pixel(size: tuple[int, int], training: bool) -> None:
    maps = random_maps(4, *size, 8)
    head, twin = (ProjectionHead(16, 4, num_layers=3, last_norm=True) for _ in range(2))
    for one in (head, twin):
        one.build((None, 8))
        randomise(one)
    out = head(maps, training=training)
    assert out.shape == head.compute_output_shape(maps.shape) == (4, *size, 4)
    pixels = twin(maps.reshape(-1, 8), training=training)
    np.testing.assert_allclose(np.asarray(out).reshape(-1, 4), pixels, rtol=1e-5, atol=1e-5)
    for weight, twin_weight in zip(head.weights, twin.weights, strict=True):
        np.testing.assert_allclose(weight, twin_weight, rtol=1e-5)  # every pixel is an example


def test_inference_against_numpy() -> None:
    head = ProjectionHead(16, 4)
    head.build((None, 8))
    randomise(head)
    first, norm, _, last = head.layers
    x = random_maps(5, 8)
    hidden = (x @ first.kernel.numpy() - norm.moving_mean) / np.sqrt(norm.moving_variance + 1e-5)
    expected = np.maximum(hidden * norm.gamma + norm.beta, 0) @ last.kernel.numpy()
    np.testing.assert_allclose(head(x), expected, rtol=1e-4, atol=1e-5)


def test_its_layers_make_a_vector_head() -> None:
    head = ProjectionHead(16, 4, last_norm=True)
    vector_head = keras.Sequential(head.layers)
    x = random_maps(5, 8)
    np.testing.assert_array_equal(head(x), vector_head(x))
    assert [id(w) for w in vector_head.weights] == [id(w) for w in head.weights]


def test_sizes_unknown_while_tracing() -> None:
    head, maps = ProjectionHead(16, 4), random_maps(2, 3, 5, 8)
    expected = head(maps)
    traced = tf.function(head, input_signature=[tf.TensorSpec((None, None, None, 8))])
    np.testing.assert_allclose(traced(maps), expected, rtol=1e-5, atol=1e-6)


def statistics_after_one_batch(head: Any) -> list[np.ndarray]:
    return [np.array(w) for w in head.non_trainable_weights if "moving" in w.name]


@pytest.mark.parametrize("synchronized", [False, True])
def test_two_replicas_have_the_statistics_of_one(two_replicas: Any, synchronized: bool) -> None:
    maps = random_maps(4, 2, 2, 8)
    maps[2:] += 3.0  # the replicas' own statistics differ from those of the whole

    def one_batch(values: Any) -> Any:
        return two_replicas.run(lambda x: head(x, training=True), args=(values,))

    with two_replicas.scope():
        head = ProjectionHead(16, 4, last_norm=True, synchronized=synchronized)
        head.build((None, 8))
        randomise(head)
    replicas = two_replicas.experimental_distribute_values_from_function(
        lambda context: tf.constant(maps[context.replica_id_in_sync_group * 2 :][:2])
    )
    outputs = two_replicas.experimental_local_results(tf.function(one_batch)(replicas))

    single = ProjectionHead(16, 4, last_norm=True)
    single.build((None, 8))
    randomise(single)
    expected = single(maps, training=True)
    output_error = np.abs(np.concatenate([np.asarray(x) for x in outputs]) - expected).max()
    error = max(
        np.abs(value / one - 1).max()
        for value, one in zip(
            statistics_after_one_batch(head), statistics_after_one_batch(single), strict=True
        )
    )
    if synchronized:
        assert output_error < 1e-4
        assert error < 1e-4
    else:
        assert output_error > 0.1
        assert error > 1e-2


def test_round_trip(tmp_path: Path) -> None:
    head = ProjectionHead(16, 4, num_layers=3, last_norm=True, synchronized=True, name="head")
    inputs = keras.layers.Input((None, None, 8))
    model = keras.Model(inputs, head(inputs))
    randomise(head)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.get_layer("head").get_config() == head.get_config()
    assert loaded.get_layer("head").layers[1].synchronized
    maps = random_maps(2, 3, 3, 8)
    np.testing.assert_allclose(loaded(maps), model(maps), rtol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(policy: str) -> None:
    reference, maps = ProjectionHead(16, 4), random_maps(2, 3, 3, 8)
    reference(maps)
    keras.config.set_dtype_policy(policy)
    head = ProjectionHead(16, 4)
    head.build(maps.shape)
    for weight, value in zip(head.weights, reference.weights, strict=True):
        weight.assign(value)
    out = head(maps)
    assert out.dtype == policy.removeprefix("mixed_")
    assert {w.dtype for w in head.weights} == {"float32"}
    np.testing.assert_allclose(np.asarray(out, "float32"), reference(maps), atol=0.1)


def test_an_own_dtype_goes_before_the_policy() -> None:
    reference, maps = ProjectionHead(16, 4), random_maps(2, 3, 3, 8)
    expected = reference(maps)
    keras.config.set_dtype_policy("mixed_bfloat16")
    head = ProjectionHead(16, 4, dtype="float32")
    head.build(maps.shape)
    for weight, value in zip(head.weights, reference.weights, strict=True):
        weight.assign(value)
    assert head(maps).dtype == "float32"
    np.testing.assert_allclose(head(maps), expected, rtol=1e-5, atol=1e-6)


def test_one_fit_step_trains_weights_and_statistics() -> None:
    head, maps = ProjectionHead(16, 4, last_norm=True), random_maps(4, 2, 2, 8)
    model = keras.Sequential([head])
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
    model.build(maps.shape)
    before = [np.array(w) for w in head.weights]
    model.fit(maps, random_maps(4, 2, 2, 4), verbose=0)
    for weight, value in zip(head.weights, before, strict=True):
        assert np.abs(np.array(weight) - value).max() > 0, weight.path


def test_too_few_layers() -> None:
    with pytest.raises(ValueError, match="`num_layers` must be at least 1. Received: num_layers=0"):
        ProjectionHead(16, 4, num_layers=0)
