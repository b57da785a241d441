import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import activations, layers, ops

from pcd_tf.layers import ProjectionHead, SpatialAdaptor

ACTIVATIONS = ("relu", "gelu", "silu", "tanh", "linear")
Model = Any


def randomised(head: Model, channels: int = 6, seed: int = 0) -> Model:
    """The head built, with every weight random: biases, statistics, scales and shifts too."""
    rng = np.random.default_rng(seed)
    if not head.built:
        head.build((None, channels))
    for weight in head.weights:
        low, high = (0.5, 2.0) if weight.name in ("gamma", "moving_variance") else (-1.0, 1.0)
        weight.assign(rng.uniform(low, high, weight.shape))
    return head


def random_maps(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def mlp(depth: int, activation: str, style: str) -> keras.Sequential:
    """Depth Dense layers of width 8; the activation inside Dense, or behind a normalisation."""
    stack: list[Any] = []
    for i in range(depth):
        if style == "inline":
            stack.append(layers.Dense(8, activation=activation))
            continue
        affine = style == "affine" and i < depth - 1  # the last without, as MoCo v3 has it
        stack.append(layers.Dense(8, use_bias=style == "affine"))
        stack.append(layers.BatchNormalization(center=affine, scale=affine))
        if i < depth - 1:
            stack.append(layers.Activation(activation))
    return keras.Sequential(stack)


def assert_mean_kept(adaptor: Any, head: Model, maps: np.ndarray, tolerance: float = 1e-5) -> None:
    """The mean over pixels of the adaptor's map is the head's output for the mean over pixels."""
    kept = np.asarray(ops.cast(adaptor(maps), "float64")).mean(axis=(1, 2))
    expected = np.asarray(ops.cast(head(maps.mean(axis=(1, 2)), training=False), "float64"))
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(kept, expected, rtol=0, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_mean_of_the_map_is_the_head_of_the_mean(depth: int, activation: str) -> None:
    for style in ("inline", "plain", "affine"):
        head = randomised(mlp(depth, activation, style))
        assert_mean_kept(SpatialAdaptor(head), head, random_maps(3, 4, 5, 6))


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 7), (3, 11)])
def test_any_size_of_map(size: tuple[int, int]) -> None:
    head = randomised(mlp(3, "gelu", "affine"))
    adaptor, maps = SpatialAdaptor(head), random_maps(2, *size, 6)
    assert_mean_kept(adaptor, head, maps)
    assert adaptor(maps).shape == adaptor.compute_output_shape((2, *size, 6)) == (2, *size, 8)


def test_sizes_unknown_while_tracing() -> None:
    head = randomised(mlp(3, "silu", "affine"))
    adaptor = SpatialAdaptor(head)
    traced = tf.function(adaptor, input_signature=[tf.TensorSpec((None, None, None, 6))])
    for shape in [(2, 3, 5, 6), (1, 1, 1, 6), (4, 2, 2, 6)]:
        assert_mean_kept(traced, head, random_maps(*shape))


def gate_of(activation: str, mean: float) -> float:
    """phi(m) / m, written out."""
    if activation == "relu" or mean == 0:
        at_zero = {"relu": 0.0, "gelu": 0.5, "silu": 0.5, "tanh": 1.0}[activation]
        return at_zero if mean <= 0 else 1.0
    phi = {
        "gelu": mean * 0.5 * math.erfc(-mean / math.sqrt(2)),
        "silu": mean / (1 + math.exp(-mean)),
        "tanh": math.tanh(mean),
    }
    return phi[activation] / mean


@pytest.mark.parametrize("activation", ["relu", "gelu", "silu", "tanh"])
def test_gate_against_a_slow_reference(activation: str) -> None:
    offsets = np.array([-5, -1, -1e-3, -1e-5, 0, 1e-5, 9e-4, 1.1e-3, 1, 5])
    maps = random_maps(2, 3, 3, offsets.size)
    maps = (maps - maps.mean(axis=(1, 2), keepdims=True) + offsets).astype("float32")
    maps[..., offsets == 0] = [[[1.0], [-1.0], [0.0]]] * 3  # a mean of exactly 0
    expected = np.empty(maps.shape)
    for b, c in np.ndindex(2, offsets.size):
        expected[b, :, :, c] = maps[b, :, :, c] * gate_of(activation, maps[b, :, :, c].mean())
    out = np.asarray(SpatialAdaptor([layers.Activation(activation)])(maps))
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-6)


def test_relu_of_a_mean_not_above_zero_is_zero_at_every_pixel() -> None:
    maps = np.zeros((1, 2, 2, 3), "float32")
    maps[0, :, :, 0] = [[9, -4], [-4, -4]]  # mean -0.75, one pixel well above zero
    maps[0, :, :, 1] = [[2, -2], [1, -1]]  # mean 0
    maps[0, :, :, 2] = [[-4, -4], [-4, 13]]  # mean 0.25: also the negative pixels pass
    out = np.asarray(SpatialAdaptor([layers.ReLU()])(maps))
    np.testing.assert_array_equal(out[..., :2], 0)
    np.testing.assert_array_equal(out[..., 2], maps[..., 2])


def test_each_image_has_its_own_gate() -> None:
    head = randomised(mlp(3, "relu", "affine"))
    adaptor, maps = SpatialAdaptor(head), random_maps(4, 3, 3, 6)
    together = np.asarray(adaptor(maps))
    alone = np.concatenate([np.asarray(adaptor(maps[i : i + 1])) for i in range(4)])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_without_the_gate_the_mean_would_not_be_kept() -> None:
    head = randomised(mlp(2, "relu", "affine"))
    maps = random_maps(2, 4, 4, 6)
    per_pixel = np.asarray(head(maps.reshape(-1, 6), training=False)).reshape(2, 16, -1).mean(1)
    assert np.abs(per_pixel - np.asarray(head(maps.mean(axis=(1, 2))))).max() > 0.1


def test_pixels_that_decide_for_themselves_are_the_plain_head() -> None:
    head, maps = randomised(mlp(3, "gelu", "affine")), random_maps(2, 4, 4, 6)
    adaptor = SpatialAdaptor(head, gates="pixel")
    expected = np.asarray(head(maps.reshape(-1, 6), training=False)).reshape(2, 4, 4, -1)
    np.testing.assert_allclose(np.asarray(adaptor(maps)), expected, rtol=1e-5, atol=1e-5)
    again = SpatialAdaptor.from_config(adaptor.get_config())
    assert again.gates == "pixel"
    with pytest.raises(ValueError, match="one of mean, pixel. Received: gates='median'"):
        SpatialAdaptor(head, gates="median")


def functional() -> Model:
    inputs = layers.Input((6,))
    x = layers.Dense(8, activation="relu")(inputs)
    return keras.Model(inputs, layers.Dense(4)(layers.BatchNormalization()(x)))


def functional_used_elsewhere() -> Model:
    """The layers' first calls are in another model than the head."""
    first, last = layers.Dense(8, activation="tanh"), layers.Dense(4)
    keras.Model(other := layers.Input((6,)), layers.Softmax()(first(other)))
    inputs = layers.Input((6,))
    model = keras.Model(inputs, last(first(inputs)))
    keras.Model(again := layers.Input((6,)), model(again))
    return model


def functional_cut_from_a_classifier() -> Model:
    inputs = layers.Input((3,))
    features = layers.Dense(6)(inputs)
    return keras.Model(features, layers.Dense(4)(layers.ReLU()(layers.Dense(8)(features))))


def functional_with_a_layer_twice() -> Model:
    inputs, twice = layers.Input((6,)), layers.Dense(6, activation="relu")
    return keras.Model(inputs, layers.Dense(4)(twice(twice(inputs))))


HEADS: dict[str, Callable[[], Model]] = {
    "sequential": lambda: mlp(2, "relu", "affine"),
    "sequential_with_input": lambda: keras.Sequential([layers.Input((6,)), layers.Dense(4)]),
    "functional": functional,
    "functional_used_elsewhere": functional_used_elsewhere,
    "functional_cut": functional_cut_from_a_classifier,
    "functional_twice": functional_with_a_layer_twice,
    "nested": lambda: keras.Sequential([mlp(1, "relu", "inline"), mlp(2, "gelu", "inline")]),
    "functional_nested": lambda: keras.Sequential([functional(), layers.ReLU(), layers.Dense(4)]),
    "projection_head": lambda: ProjectionHead(8, 4, num_layers=3, last_norm=True),
    "projection_head_nested": lambda: keras.Sequential([ProjectionHead(8, 6), functional()]),
    "identity": lambda: keras.Sequential([layers.Identity(), layers.Dense(4, "linear")]),
    "one_layer": lambda: layers.Dense(4, activation="silu"),
}


@pytest.mark.parametrize("name", HEADS)
def test_kinds_of_head(name: str) -> None:
    head = randomised(HEADS[name]())
    assert_mean_kept(SpatialAdaptor(head), head, random_maps(2, 3, 4, 6))


def test_a_list_of_layers_is_a_head() -> None:
    stack = [layers.Dense(8), layers.BatchNormalization(), layers.ReLU(), layers.Dense(4)]
    adaptor = SpatialAdaptor(stack)
    adaptor.build((None, None, None, 6))
    head = randomised(keras.Sequential(stack))
    assert adaptor.head.layers == stack
    assert_mean_kept(adaptor, head, random_maps(2, 3, 4, 6))


def test_weights_are_shared_not_copied() -> None:
    head = mlp(3, "relu", "affine")  # not built: the adaptor builds it
    adaptor, maps = SpatialAdaptor(head), random_maps(2, 3, 3, 6)
    before = np.asarray(adaptor(maps))
    assert [id(w) for w in adaptor.weights] == [id(w) for w in head.weights]
    randomised(head)
    assert np.abs(np.asarray(adaptor(maps)) - before).max() > 0.1
    assert_mean_kept(adaptor, head, maps)


def test_always_in_inference_mode() -> None:
    head = randomised(mlp(2, "relu", "affine"))
    adaptor, maps = SpatialAdaptor(head), random_maps(2, 3, 3, 6)
    before = [np.array(w) for w in head.non_trainable_weights]
    np.testing.assert_array_equal(adaptor(maps, training=True), adaptor(maps, training=False))

    model = keras.Sequential([adaptor])
    model.compile(optimizer=keras.optimizers.SGD(0.01), loss="mse")
    kernel = np.array(head.weights[0])
    model.fit(maps, random_maps(2, 3, 3, 8), verbose=0)
    for weight, value in zip(head.non_trainable_weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)  # the moving statistics
    assert np.abs(np.array(head.weights[0]) - kernel).max() > 0  # gradients reach the shared head


class Squaring(layers.Dense):
    def call(self, inputs: Any) -> Any:
        return super().call(inputs) ** 2


UNSUPPORTED: dict[str, Callable[[], Any]] = {
    "Softmax": lambda: layers.Softmax(name="odd"),
    "softmax": lambda: layers.Dense(4, activation="softmax", name="odd"),
    "relu6": lambda: layers.Activation("relu6", name="odd"),
    "<lambda>": lambda: layers.Activation(
        lambda x: activations.gelu(x, approximate=True), name="odd"
    ),
    "Dropout": lambda: layers.Dropout(0.5, name="odd"),
    "LayerNormalization": lambda: layers.LayerNormalization(name="odd"),
    "LeakyReLU": lambda: layers.LeakyReLU(name="odd"),
    "ReLU": lambda: layers.ReLU(max_value=6.0, name="odd"),
    "Conv2D": lambda: layers.Conv2D(4, 1, name="odd"),
    "Squaring": lambda: Squaring(4, name="odd"),
}


@pytest.mark.parametrize("received", UNSUPPORTED)
def test_unsupported_layers_are_named(received: str) -> None:
    head = keras.Sequential([layers.Dense(4), UNSUPPORTED[received](), layers.Dense(4)])
    pattern = rf"(?s)'odd'.*Supported: Dense, .*relu, gelu.*Received: {received}$"
    with pytest.raises(ValueError, match=pattern):
        SpatialAdaptor(head)


@pytest.mark.parametrize("change", [{"negative_slope": 0.1}, {"threshold": 0.5}])
def test_changed_relus_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="no exact form of layer 'odd'"):
        SpatialAdaptor([layers.ReLU(**change, name="odd")])


def residual() -> Model:
    inputs = layers.Input((6,))
    return keras.Model(inputs, layers.Add()([inputs, layers.Dense(6)(inputs)]), name="odd")


def parallel() -> Model:
    inputs = layers.Input((6,))
    both = [layers.Dense(3)(inputs), layers.Dense(3)(inputs)]
    return keras.Model(inputs, layers.Concatenate()(both), name="odd")


def two_outputs() -> Model:
    inputs = layers.Input((6,))
    x = layers.Dense(3)(inputs)
    return keras.Model(inputs, [x, layers.Dense(3)(x)], name="odd")


class Subclassed(keras.Model):
    def __init__(self) -> None:
        super().__init__(name="odd")
        self.dense = layers.Dense(4)

    def call(self, inputs: Any) -> Any:
        return self.dense(inputs) + 1.0


@pytest.mark.parametrize("make", [residual, parallel, two_outputs, Subclassed])
@pytest.mark.parametrize("nested", [False, True])
def test_heads_that_are_no_chain_are_refused(make: Callable[[], Model], nested: bool) -> None:
    head = keras.Sequential([make()]) if nested and make is not two_outputs else make()
    with pytest.raises(ValueError, match="one chain of layers: .*'odd', which is not"):
        SpatialAdaptor(head)


def test_an_operation_without_a_layer_is_named() -> None:
    inputs = layers.Input((6,))
    with pytest.raises(ValueError, match="no exact form of layer 'multiply.*Received: Multiply"):
        SpatialAdaptor(keras.Model(inputs, layers.Dense(4)(inputs) * 2.0))


@pytest.mark.parametrize("name", ["sequential", "functional", "projection_head"])
def test_round_trip_with_weights(name: str, tmp_path: Path) -> None:
    adaptor = SpatialAdaptor(randomised(HEADS[name]()), name="teacher_head")
    inputs = layers.Input((None, None, 6))
    model = keras.Model(inputs, adaptor(inputs))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    maps = random_maps(2, 3, 4, 6)
    np.testing.assert_allclose(loaded(maps), model(maps), rtol=1e-6, atol=1e-6)
    assert type(loaded.get_layer("teacher_head").head) is type(adaptor.head)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("activation", ["relu", "gelu", "silu", "tanh"])
def test_mixed_precision(policy: str, activation: str) -> None:
    keras.config.set_dtype_policy(policy)
    head = randomised(mlp(3, activation, "affine"))
    adaptor, maps = SpatialAdaptor(head), random_maps(2, 4, 4, 6)
    assert adaptor(maps).dtype == policy.removeprefix("mixed_")
    assert_mean_kept(adaptor, head, maps, tolerance=0.05 if policy == "mixed_bfloat16" else 5e-3)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_a_head_of_another_precision(policy: str) -> None:
    keras.config.set_dtype_policy("mixed_bfloat16" if policy == "float32" else "float32")
    head = randomised(mlp(3, "relu", "affine"))
    adaptor, maps = SpatialAdaptor(head, dtype=policy), random_maps(2, 4, 4, 6)
    assert adaptor(maps).dtype == policy.removeprefix("mixed_")
    assert_mean_kept(adaptor, head, maps, tolerance=0.05)
