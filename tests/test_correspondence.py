from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from pcd_tf.correspondence import overlap_grid, sample


def random_crops(num: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Boxes of 0.4 to 0.9 of the image's sides, and flips."""
    rng = np.random.default_rng(seed)
    extent = rng.uniform(0.4, 0.9, (num, 2))
    start = rng.uniform(0, 1, (num, 2)) * (1 - extent)
    boxes = np.concatenate([start, start + extent], axis=1).astype("float32")
    return boxes, rng.random(num) < 0.5


def painted(boxes: np.ndarray, flips: np.ndarray, height: int, width: int) -> np.ndarray:
    """Maps whose pixels hold the source coordinates (y, x) of their own centres."""
    maps = np.empty((len(boxes), height, width, 2), "float32")
    for b, (y0, x0, y1, x1) in enumerate(boxes):
        for i in range(height):
            for j in range(width):
                column = width - 1 - j if flips[b] else j
                y, x = (i + 0.5) / height, (column + 0.5) / width
                maps[b, i, j] = y0 + y * (y1 - y0), x0 + x * (x1 - x0)
    return maps


def slow_sample(maps: np.ndarray, points: np.ndarray) -> np.ndarray:
    num, height, width, _ = maps.shape
    out = np.empty((num, *points.shape[1:3], maps.shape[3]))
    for b, i, j in np.ndindex(out.shape[:3]):
        y, x = points[b, i, j] * (height, width) - 0.5
        top, left = int(np.floor(y)), int(np.floor(x))
        total = 0.0
        for row, share_y in ((top, 1 - (y - top)), (top + 1, y - top)):
            for column, share_x in ((left, 1 - (x - left)), (left + 1, x - left)):
                pixel = maps[b, np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)]
                total = total + share_y * share_x * pixel
        out[b, i, j] = total
    return out


def inside(points: Any, size: tuple[int, int]) -> np.ndarray:
    """Whether points lie between the outermost centres of a map, where a ramp is exact."""
    pixels = np.asarray(points) * size
    return ((pixels >= 0.5) & (pixels <= np.array(size) - 0.5)).all(axis=-1)


@pytest.mark.parametrize("size", [(7, 7), (5, 9)])
def test_painted_coordinates_agree_after_alignment(size: tuple[int, int]) -> None:
    (boxes1, flips1), (boxes2, flips2) = random_crops(64, seed=0), random_crops(64, seed=1)
    points1, points2, weights = overlap_grid(boxes1, flips1, boxes2, flips2, size)
    maps1, maps2 = painted(boxes1, flips1, *size), painted(boxes2, flips2, *size)
    read1, read2 = np.asarray(sample(maps1, points1)), np.asarray(sample(maps2, points2))
    both = inside(points1, size) & inside(points2, size)
    both &= np.asarray(weights)[:, None, None] > 0
    assert both.sum() > 1000
    assert flips1.any()
    assert flips2.any()
    np.testing.assert_allclose(read1[both], read2[both], atol=1e-5)
    # Next to a crop's edge a map has no more to say than its edge pixel: half a pixel at most.
    half = 0.5 * (boxes1[:, 2:] - boxes1[:, :2] + boxes2[:, 2:] - boxes2[:, :2]) / size
    count = np.asarray(weights) > 0
    assert (np.abs(read1 - read2)[count] <= half[count][:, None, None] + 1e-5).all()


def test_points_are_the_cell_centres_of_the_overlap() -> None:
    boxes1, boxes2 = [[0.0, 0.0, 0.8, 0.5]], [[0.4, 0.25, 1.0, 1.0]]
    points1, points2, weights = overlap_grid(boxes1, [False], boxes2, [True], (2, 1))
    # Overlap 0.4..0.8 x 0.25..0.5: centres y 0.5 and 0.7, x 0.375.
    np.testing.assert_allclose(points1[0, :, 0], [[0.625, 0.75], [0.875, 0.75]], rtol=1e-5)
    expected = [[1 / 6, 1 - 1 / 6], [0.5, 1 - 1 / 6]]
    np.testing.assert_allclose(points2[0, :, 0], expected, rtol=1e-5)
    assert weights.shape == (1,)


@pytest.mark.parametrize("size", [(1, 1), (7, 7), (3, 8)])
def test_identical_crops_are_the_identity(size: tuple[int, int]) -> None:
    boxes, _ = random_crops(16)
    upright, mirrored = np.zeros(16, bool), np.ones(16, bool)
    maps = np.random.default_rng(0).normal(size=(16, *size, 4)).astype("float32")
    points1, points2, weights = overlap_grid(boxes, upright, boxes, mirrored, size)
    np.testing.assert_array_equal(weights, 1.0)
    np.testing.assert_allclose(sample(maps, points1), maps, atol=1e-4)
    np.testing.assert_allclose(sample(maps[:, :, ::-1], points2), maps, atol=1e-4)


def test_swapping_the_views_swaps_the_points() -> None:
    (boxes1, flips1), (boxes2, flips2) = random_crops(8, seed=2), random_crops(8, seed=3)
    points1, points2, weights = overlap_grid(boxes1, flips1, boxes2, flips2, (4, 4))
    swapped2, swapped1, again = overlap_grid(boxes2, flips2, boxes1, flips1, (4, 4))
    for one, other in ((points1, swapped1), (points2, swapped2), (weights, again)):
        np.testing.assert_array_equal(one, other)


def test_too_little_overlap_has_no_weight() -> None:
    box = [0.0, 0.0, 0.7, 0.7]  # pixels of a 7 x 7 map: 0.1
    others = {
        (0.5, 0.5, 1.0, 1.0): 1.0,
        (0.59, 0.0, 1.0, 0.7): 1.0,  # 0.11 high: just more than one pixel
        (0.61, 0.0, 1.0, 0.7): 0.0,  # 0.09 high
        (0.0, 0.61, 0.7, 1.0): 0.0,  # 0.09 wide
        (0.0, 0.58, 0.7, 1.0): 1.0,
        (0.7, 0.0, 1.0, 0.7): 0.0,  # touch
        (0.8, 0.8, 1.0, 1.0): 0.0,  # apart
        (0.3, 0.3, 0.39, 0.39): 0.0,  # inside, but smaller than one pixel of the first view
        (0.3, 0.3, 0.41, 0.41): 1.0,
        (0.3, 0.3, 0.3, 0.3): 0.0,  # empty
    }
    boxes2 = np.array(list(others), "float32")
    flips = np.zeros(len(others), bool)
    boxes1 = np.tile(np.array(box, "float32"), (len(others), 1))
    points1, points2, weights = overlap_grid(boxes1, flips, boxes2, flips, (7, 7))
    np.testing.assert_array_equal(weights, list(others.values()))
    np.testing.assert_array_equal(overlap_grid(boxes2, flips, boxes1, flips, (7, 7))[2], weights)
    for points in (points1, points2):
        assert np.isfinite(points).all()
        assert (np.asarray(points) >= 0).all()
        assert (np.asarray(points) <= 1).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (6, 4)])
def test_sample_equals_the_slow_loop(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(3, *size, 2)).astype("float32")
    points = rng.uniform(0, 1, (3, 5, 7, 2)).astype("float32")
    points[0, 0, :4] = [[0, 0], [1, 1], [0, 1], [0.5, 0.5]]
    np.testing.assert_allclose(sample(maps, points), slow_sample(maps, points), atol=1e-5)


def test_sample_keeps_the_dtype_and_interpolates_in_float32() -> None:
    maps = tf.cast(np.arange(256.0).reshape((1, 1, 256, 1)), "bfloat16")  # exact in bfloat16
    points = np.array([[[[0.5, 4.75 / 256]]]], "float32")
    received = sample(maps, points)
    assert received.dtype == "bfloat16"
    assert float(received[0, 0, 0, 0]) == 4.25


def test_gradient_to_the_maps_is_the_transpose_of_sampling() -> None:
    rng = np.random.default_rng(1)
    maps = tf.constant(rng.normal(size=(2, 4, 5, 3)), "float32")
    points = rng.uniform(0, 1, (2, 3, 6, 2)).astype("float32")
    direction = rng.normal(size=(2, 3, 6, 3)).astype("float32")

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3))])
    def gradient(maps: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(maps)
            total = tf.reduce_sum(sample(maps, points) * direction)
        return tape.gradient(total, maps)

    received = np.asarray(gradient(maps))
    for b, i, j, c in [(0, 0, 0, 0), (1, 3, 4, 2), (0, 2, 1, 1), (1, 1, 3, 0)]:
        unit = np.zeros(maps.shape)
        unit[b, i, j, c] = 1.0
        expected = (slow_sample(unit, points) * direction).sum()  # sampling is linear
        assert received[b, i, j, c] == pytest.approx(expected, abs=1e-5)
    np.testing.assert_allclose(received.sum((1, 2)), direction.sum((1, 2)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_same_result_in_a_function(jit_compile: bool) -> None:
    (boxes1, flips1), (boxes2, flips2) = random_crops(4, seed=4), random_crops(4, seed=5)
    maps = np.random.default_rng(2).normal(size=(4, 7, 7, 8)).astype("float32")

    def aligned(maps: Any, boxes1: Any, flips1: Any, boxes2: Any, flips2: Any) -> Any:
        points1, _, weights = overlap_grid(boxes1, flips1, boxes2, flips2, (7, 7))
        return sample(maps, points1), weights

    crops = (boxes1, flips1, boxes2, flips2)
    expected, expected_weights = aligned(maps, *crops)
    received, weights = tf.function(aligned, jit_compile=jit_compile)(maps, *crops)
    np.testing.assert_allclose(received, expected, atol=1e-5)
    np.testing.assert_array_equal(weights, expected_weights)


def test_wrong_shapes_are_refused() -> None:
    box, flip = [[0.0, 0.0, 1.0, 1.0]], [False]
    with pytest.raises(ValueError, match=r"`boxes2`.*y0, x0, y1, x1.*Received: shape \(1, 3\)"):
        overlap_grid(box, flip, [[0.0, 0.0, 1.0]], flip, (7, 7))
    with pytest.raises(ValueError, match=r"`size`.*Received: size=\(0, 7\)"):
        overlap_grid(box, flip, box, flip, (0, 7))
    with pytest.raises(ValueError, match=r"\(B, H, W, C\).*\(B, h, w, 2\).*Received"):
        sample(np.zeros((1, 7, 7), "float32"), np.zeros((1, 7, 7, 2), "float32"))
