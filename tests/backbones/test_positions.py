"""Tables of positions: resized as Keras and PyTorch resize them, and MoCo v3's sines."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from pcd_tf.backbones import _positions

SIZES = [(14, 14), (20, 14), (7, 9), (28, 5), (1, 1), (13, 15)]


def table(rows=14, columns=14, channels=5):
    return np.random.default_rng(0).normal(size=(rows, columns, channels)).astype("float32")


@pytest.mark.parametrize("size", SIZES)
def test_it_resizes_as_keras_does_with_antialiasing(size):
    expected = keras.ops.image.resize(table(), size, "bicubic", antialias=True)
    np.testing.assert_allclose(_positions.resize_table(table(), size), expected, atol=2e-6)


@pytest.mark.parametrize("size", SIZES)
def test_it_resizes_as_keras_does_without(size):
    expected = keras.ops.image.resize(table(), size, "bicubic", antialias=False)
    received = _positions.resize_table(table(), size, antialias=False)
    # TensorFlow looks its kernel up in a table of 1024 steps, so it is no closer to the truth.
    np.testing.assert_allclose(received, expected, atol=3e-3)
    if size == (7, 9):
        antialiased = _positions.resize_table(table(), size)
        assert np.max(np.abs(received - antialiased)) > 0.1


def test_a_table_need_not_be_square():
    expected = keras.ops.image.resize(table(6, 11), (9, 4), "bicubic", antialias=True)
    np.testing.assert_allclose(_positions.resize_table(table(6, 11), (9, 4)), expected, atol=2e-6)


@pytest.mark.torch
@pytest.mark.parametrize("size", SIZES)
def test_it_resizes_as_timm_does(size):
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    image = torch.tensor(table()).permute(2, 0, 1)[None]  # (1, C, g, g)
    resized = torch.nn.functional.interpolate(image, size, mode="bicubic", antialias=True)
    expected = resized[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(_positions.resize_table(table(), size), expected, atol=2e-6)


def test_its_own_size_is_the_table_itself_known_or_not():
    original = table()
    assert _positions.resize_table(original, (14, 14)) is original
    resize = tf.function(lambda height, width: _positions.resize_table(original, (height, width)))
    unknown = resize(tf.constant(14), tf.constant(14))
    np.testing.assert_array_equal(unknown, original)


def test_sizes_known_only_at_run_time_give_the_same():
    resize = tf.function(
        lambda height, width: _positions.resize_table(table(), (height, width)),
        input_signature=[tf.TensorSpec((), "int32")] * 2,
    )
    for size in SIZES:
        received = resize(*map(tf.constant, size))
        np.testing.assert_allclose(received, _positions.resize_table(table(), size), atol=1e-6)


def test_sines_and_cosines_follow_their_definition():
    made = _positions.sine_cosine(5, 12)
    assert made.shape == (5, 5, 12)
    assert made.dtype == np.float32
    for row, column, k in np.ndindex(5, 5, 3):
        frequency = 10000.0 ** (-k / 3)
        expected = [
            np.sin(row * frequency),
            np.cos(row * frequency),
            np.sin(column * frequency),
            np.cos(column * frequency),
        ]
        np.testing.assert_allclose(made[row, column, k::3], expected, atol=1e-6)


def test_sines_and_cosines_want_four_of_each():
    with pytest.raises(ValueError, match="a multiple of 4 channels .* Received: 10"):
        _positions.sine_cosine(5, 10)
