from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from pcd_tf.layers import MHSA


def random_maps(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def randomised(layer: Any, channels: int = 16, seed: int = 1) -> Any:
    """The layer built, with weights that do something: the output projection starts at zero."""
    rng = np.random.default_rng(seed)
    if not layer.built:
        layer.build((None, None, None, channels))
    for weight in layer.weights:
        weight.assign(rng.normal(scale=0.5, size=weight.shape))
    return layer


def slow_attention(layer: Any, image: np.ndarray, position: np.ndarray | float = 0.0) -> np.ndarray:
    """MHSA of one image (H, W, C) in float64, one head and one query at a time."""
    weights = {w.path.split("/", 1)[-1].split("mhsa/")[-1]: np.array(w) for w in layer.weights}
    x = image.astype("float64")
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
    x = x * weights["norm/gamma"] + weights["norm/beta"] + position
    pixels = x.reshape(-1, x.shape[-1])
    qkv = pixels @ weights["qkv/kernel"] + weights["qkv/bias"]
    dim = layer.head_dim
    num_heads = qkv.shape[1] // (3 * dim)
    attended = np.empty((len(pixels), num_heads * dim))
    for head in range(num_heads):
        query, key, value = (
            qkv[:, (part * num_heads + head) * dim :][:, :dim] for part in range(3)
        )
        for pixel in range(len(pixels)):
            scores = np.exp(key @ query[pixel] / np.sqrt(dim))
            attended[pixel, head * dim :][:dim] = scores / scores.sum() @ value
    out = attended @ weights["out/kernel"] + weights["out/bias"]
    return image + out.reshape(image.shape)


def slow_sincos(height: int, width: int, channels: int) -> np.ndarray:
    quarter = channels // 4
    position = np.empty((height, width, channels))
    for i, j, k in np.ndindex(height, width, quarter):
        rate = 10000.0 ** (-k / quarter)
        waves = [np.sin(i * rate), np.cos(i * rate), np.sin(j * rate), np.cos(j * rate)]
        position[i, j, k::quarter] = waves
    return position


@pytest.mark.parametrize("position", ["none", "sincos"])
def test_plugging_it_in_changes_nothing(position: str) -> None:
    maps = random_maps(2, 3, 4, 16)
    np.testing.assert_array_equal(MHSA(head_dim=8, position=position)(maps), maps)


@pytest.mark.parametrize("position", ["none", "sincos"])
@pytest.mark.parametrize(("channels", "num_heads"), [(16, 2), (12, 1), (4, 1), (20, 2)])
def test_against_a_slow_reference(position: str, channels: int, num_heads: int) -> None:
    layer = randomised(MHSA(head_dim=8, position=position), channels)
    assert layer.num_heads == num_heads
    maps = random_maps(2, 3, 5, channels)
    where = slow_sincos(3, 5, channels) if position == "sincos" else 0.0
    expected = np.stack([slow_attention(layer, image, where) for image in maps])
    assert np.abs(expected - maps).max() > 0.1
    np.testing.assert_allclose(layer(maps), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("position", ["none", "sincos"])
def test_sizes_unknown_while_tracing(position: str) -> None:
    layer = randomised(MHSA(head_dim=8, position=position))
    traced = tf.function(layer, input_signature=[tf.TensorSpec((None, None, None, 16))])
    for shape in [(2, 3, 5, 16), (1, 1, 1, 16), (3, 7, 7, 16)]:
        maps = random_maps(*shape)
        assert layer(maps).shape == layer.compute_output_shape(shape) == shape
        np.testing.assert_allclose(traced(maps), layer(maps), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("position", ["none", "sincos"])
def test_only_the_position_tells_pixels_apart(position: str) -> None:
    layer, maps = randomised(MHSA(head_dim=8, position=position)), random_maps(2, 3, 4, 16)
    order = np.random.default_rng(2).permutation(12)

    def shuffled(values: Any) -> np.ndarray:
        return np.asarray(values).reshape(2, 12, 16)[:, order].reshape(2, 3, 4, 16)

    difference = np.abs(np.asarray(layer(shuffled(maps))) - shuffled(layer(maps))).max()
    assert difference < 1e-5 if position == "none" else difference > 0.1


def test_every_pixel_sees_every_other_of_its_image_alone() -> None:
    layer, maps = randomised(MHSA(head_dim=8)), random_maps(2, 2, 3, 16)
    changed = maps.copy()
    changed[0, 0, 0] = random_maps(16, seed=5)
    difference = np.abs(np.asarray(layer(changed)) - layer(maps)).max(axis=-1)
    assert difference[0].min() > 1e-4
    assert difference[1].max() == 0


def test_round_trip(tmp_path: Path) -> None:
    inputs = keras.layers.Input((None, None, 16))
    layer = MHSA(head_dim=8, position="sincos", name="mhsa")
    model = keras.Model(inputs, layer(inputs))
    randomised(layer)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    maps = random_maps(2, 3, 4, 16)
    np.testing.assert_allclose(loaded(maps), model(maps), rtol=1e-6)
    config = loaded.get_layer("mhsa").get_config()
    assert (config["head_dim"], config["position"]) == (8, "sincos")


@pytest.mark.parametrize("position", ["none", "sincos"])
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(policy: str, position: str) -> None:
    maps = random_maps(2, 3, 4, 16)
    reference = randomised(MHSA(head_dim=8, position=position))(maps)
    layer = randomised(MHSA(head_dim=8, position=position, dtype=policy))
    out = layer(maps)
    assert out.dtype == policy.removeprefix("mixed_")
    assert {w.dtype for w in layer.weights} == {"float32"}
    error = np.abs(np.asarray(out, "float32") - reference).max() / np.abs(reference).max()
    assert error < (0.05 if policy == "mixed_bfloat16" else 0.01)


def test_fit_steps_train_all_weights() -> None:
    layer, maps = MHSA(head_dim=8), random_maps(4, 2, 2, 16)
    model = keras.Sequential([layer])
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
    model.build(maps.shape)
    before = {w.path: np.array(w) for w in layer.weights}
    model.fit(maps, random_maps(4, 2, 2, 16, seed=1), epochs=2, verbose=0)  # the first: `out` alone
    for weight in layer.weights:
        assert np.abs(np.array(weight) - before[weight.path]).max() > 0, weight.path


def test_errors() -> None:
    with pytest.raises(ValueError, match="'none' or 'sincos'. Received: position='learned'"):
        MHSA(position="learned")
    with pytest.raises(ValueError, match="`head_dim` must be at least 1. Received: head_dim=0"):
        MHSA(head_dim=0)
    with pytest.raises(ValueError, match="divisible by 4.* Received: 18 channels"):
        MHSA(position="sincos").build((None, 7, 7, 18))
