"""Maps resized: against slow loops and other libraries, and what it means for the mean."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from pcd_tf.layers import SpatialAdaptor
from pcd_tf.resampling import resize_map

DOWN = [((14, 14), (7, 7)), ((16, 16), (7, 7)), ((5, 9), (4, 2)), ((3, 2), (1, 1))]
UP = [((7, 7), (14, 14)), ((7, 7), (16, 16)), ((2, 3), (5, 4)), ((1, 1), (3, 2))]
MIXED = [((4, 6), (6, 4)), ((5, 5), (5, 3)), ((5, 5), (8, 5))]


def maps(size, channels=3, seed=0):
    random = np.random.default_rng(seed)
    return random.normal(1.0, 2.0, (2, *size, channels)).astype("float32")


def mean_over(line, start, end):
    """The mean of a piecewise constant line (h, ...) between two places, in pixels."""
    total = 0.0
    for i, value in enumerate(line):
        total = total + value * max(0.0, min(end, i + 1) - max(start, i))
    return total / (end - start)


def read_at(line, place):
    """The value at a place, pixel i's centre at i + 0.5, the edges continued."""
    place = min(max(place - 0.5, 0.0), len(line) - 1.0)
    left = min(int(place), len(line) - 1)
    right = min(left + 1, len(line) - 1)
    return line[left] + (place - left) * (line[right] - line[left])


def along_first_axis(values, length):
    ratio = len(values) / length
    if ratio > 1:
        return np.stack([mean_over(values, i * ratio, (i + 1) * ratio) for i in range(length)])
    return np.stack([read_at(values, (i + 0.5) * ratio) for i in range(length)])


def by_loops(values, size):
    values = values.astype("float64")
    for axis, length in zip((1, 2), size, strict=True):
        values = np.moveaxis(along_first_axis(np.moveaxis(values, axis, 0), length), 0, axis)
    return values


@pytest.mark.parametrize(("source", "size"), [*DOWN, *UP, *MIXED])
def test_it_equals_slow_loops(source, size):
    values = maps(source)
    resized = resize_map(values, size)
    assert tuple(resized.shape) == (2, *size, 3)
    np.testing.assert_allclose(resized, by_loops(values, size), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("source", "size"), DOWN)
def test_going_down_keeps_the_mean(source, size):
    values = maps(source)
    received = np.mean(resize_map(values, size), axis=(1, 2), dtype="float64")
    np.testing.assert_allclose(received, values.mean((1, 2), dtype="float64"), rtol=1e-6)


def test_going_up_keeps_the_mean_at_a_whole_ratio_and_nearly_so_at_others():
    values = maps((7, 7))
    mean = values.mean((1, 2), dtype="float64")
    exact = np.mean(resize_map(values, (14, 21)), axis=(1, 2), dtype="float64")
    np.testing.assert_allclose(exact, mean, rtol=1e-6)
    near = np.mean(resize_map(values, (16, 16)), axis=(1, 2), dtype="float64")
    assert 1e-5 < np.abs(near - mean).max() < 0.02 * values.std()


@pytest.mark.parametrize(("source", "size"), UP)
def test_going_up_is_the_bilinear_resizing_of_keras(source, size):
    values = maps(source)
    expected = ops.image.resize(values, size, interpolation="bilinear")
    np.testing.assert_allclose(resize_map(values, size), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.torch
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (4, 6), (8, 4), (8, 12)])
def test_whole_ratios_down_are_the_adaptive_average_pooling_of_pytorch(size):
    import torch

    values = maps((8, 12))
    pooled = torch.nn.functional.adaptive_avg_pool2d(
        torch.from_numpy(np.moveaxis(values, -1, 1).copy()), size
    )
    expected = np.moveaxis(pooled.numpy(), 1, -1)
    np.testing.assert_allclose(resize_map(values, size), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.torch
@pytest.mark.parametrize(("source", "size"), UP)
def test_going_up_is_the_interpolation_of_pytorch(source, size):
    import torch

    values = maps(source)
    larger = torch.nn.functional.interpolate(
        torch.from_numpy(np.moveaxis(values, -1, 1).copy()),
        size=size,
        mode="bilinear",
        align_corners=False,
    )
    expected = np.moveaxis(larger.numpy(), 1, -1)
    np.testing.assert_allclose(resize_map(values, size), expected, rtol=1e-5, atol=1e-5)


def test_the_adaptors_invariance_survives_averaging():
    dense = keras.layers.Dense
    head = keras.Sequential([keras.Input((6,)), dense(9, activation="relu"), dense(4)])
    values = maps((5, 7), channels=6)
    expected = head(values.mean((1, 2)))
    adaptor = SpatialAdaptor(head)
    after = resize_map(adaptor(values), (2, 3))
    np.testing.assert_allclose(ops.mean(after, (1, 2)), expected, rtol=1e-4, atol=1e-5)
    before = adaptor(resize_map(values, (2, 3)))  # all but the gates is affine, and they are equal
    np.testing.assert_allclose(before, after, rtol=1e-4, atol=1e-5)


def test_the_same_size_is_the_same_map():
    values = tf.constant(maps((3, 4)))
    assert resize_map(values, (3, 4)) is values


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_it_computes_in_float32_and_returns_the_dtype(dtype):
    values = ops.cast(maps((14, 14)), dtype)
    resized = resize_map(values, (7, 16))
    assert keras.backend.standardize_dtype(resized.dtype) == dtype
    expected = ops.cast(resize_map(ops.cast(values, "float32"), (7, 16)), dtype)
    np.testing.assert_array_equal(ops.cast(resized, "float32"), ops.cast(expected, "float32"))


def test_its_gradient_is_the_transposed_product():
    values = tf.constant(maps((4, 3)))
    weights = maps((3, 5), seed=1)
    with tf.GradientTape() as tape:
        tape.watch(values)
        total = ops.sum(resize_map(values, (3, 5)) * weights)
    gradient = tape.gradient(total, values)
    # It is linear, so the gradient's product with any map is the change along it.
    direction = maps((4, 3), seed=2)
    change = np.sum(np.array(resize_map(direction, (3, 5))) * weights)
    assert np.sum(gradient * direction) == pytest.approx(change, rel=1e-4)


@pytest.mark.parametrize(("source", "size"), [((16, 5), (7, 9)), ((4, 4), (4, 4))])
def test_xla_and_unknown_sizes_give_the_same(source, size):
    values = maps(source)
    expected = resize_map(values, size)
    compiled = tf.function(lambda x: resize_map(x, size), jit_compile=True)
    np.testing.assert_allclose(compiled(values), expected, rtol=1e-5, atol=1e-6)
    unknown = tf.TensorSpec((None, None, None, 3))
    dynamic = tf.function(lambda x, y: resize_map(x, ops.shape(y)[1:3]), [unknown, unknown])
    other = np.zeros((1, *size, 3), "float32")
    np.testing.assert_allclose(dynamic(values, other), expected, rtol=1e-5, atol=1e-6)
    fixed = tf.function(lambda x: resize_map(x, size), [unknown])
    assert fixed.get_concrete_function().output_shapes[1:3] == size


def test_misuse_is_refused():
    with pytest.raises(ValueError, match=r"\(B, h, w, D\). Received: shape \(3, 4, 2\)"):
        resize_map(np.zeros((3, 4, 2)), (1, 1))
    with pytest.raises(ValueError, match=r"at least \(1, 1\). Received: size=\(0, 2\)"):
        resize_map(np.zeros((1, 3, 4, 2)), (0, 2))
