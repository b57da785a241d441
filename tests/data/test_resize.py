"""Resizing in a graph against Pillow's antialiased bilinear, and the letterbox."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pcd_tf.data._resize import fitted, letterbox, padded, resize, resize_classes


def texture(height: int, width: int, blur: int = 4) -> np.ndarray:
    """Random colours that change over some `blur` pixels, as photographs do."""
    random = np.random.default_rng(0)
    shape = (height // blur + 2, width // blur + 2, 3)
    small = Image.fromarray(random.integers(0, 256, shape, np.uint8))
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


def resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
    return resize(tf.constant(image[None]), tf.constant((height, width)))[0].numpy()


def by_pillow(image: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.square(first.astype(float) - second).mean()))


@pytest.mark.parametrize("shrinking", [0.5, 0.8, 1.1, 1.22, 1.3, 1.7, 2, 3.3, 5, 8])
def test_it_is_near_pillow_s_antialiased_bilinear(shrinking: float):
    """40 dB is an error of 2.5 levels of 256 (root of the mean square); 41 are found at least."""
    height, width = round(41 * shrinking), round(57 * shrinking)
    image = texture(height, width, blur=max(4, round(4 * shrinking)))
    received, expected = resized(image, 41, 57), by_pillow(image, 41, 57)
    assert received.shape == (41, 57, 3)
    assert received.dtype == np.uint8
    assert psnr(received, expected) > (50 if shrinking < 1 else 40)
    assert abs(received.mean() - expected.mean()) < 0.1  # levels; it is not rounded down


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (64, 33)])
def test_a_picture_of_the_size_stays_as_it_is(size: tuple[int, int]):
    image = texture(*size, blur=1)
    np.testing.assert_array_equal(resized(image, *size), image)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ((1, 1), (5, 7)),
        ((1, 50), (9, 9)),
        ((50, 1), (9, 9)),
        ((33, 47), (1, 1)),
        ((3, 900), (8, 8)),
    ],
)
def test_sides_of_a_pixel(given: tuple[int, int], wanted: tuple[int, int]):
    constant = np.full((*given, 3), (10, 128, 255), np.uint8)
    expected = np.broadcast_to(constant[0, 0], (*wanted, 3))
    np.testing.assert_array_equal(resized(constant, *wanted), expected)


def test_shrinking_averages_all_pixels():
    chequered = np.repeat((np.indices((240, 240)).sum(0) % 2 * 255)[..., None], 3, -1)
    for side in (120, 80, 33, 10):  # up to a row of seven or eight is on one side
        assert np.abs(resized(chequered.astype(np.uint8), side, side) - 127.5).max() < 128 / 7
    blocks = texture(30, 40, blur=1)
    expected = blocks.reshape(10, 3, 10, 4, 3).mean((1, 3))
    assert np.abs(resized(blocks, 10, 10) - expected).max() <= 0.51


def test_classes_are_the_nearest_pixel_s():
    maps = np.random.default_rng(0).integers(0, 256, (21, 14), np.uint8)
    large = resize_classes(tf.constant(maps), tf.constant((42, 28))).numpy()
    np.testing.assert_array_equal(large, maps.repeat(2, 0).repeat(2, 1))
    small = resize_classes(tf.constant(maps), tf.constant((7, 14))).numpy()
    np.testing.assert_array_equal(small, maps[1::3])


def test_the_size_in_the_letterbox():
    sides = [1, 2, 3, 31, 32, 33, 375, 500, 4000, 60000]
    sizes = np.array(list(itertools.product(sides, sides)), np.int32)
    for image_size in (1, 31, 32, 640):
        found = fitted(tf.constant(sizes), image_size).numpy()
        exact = sizes * image_size / sizes.max(1, keepdims=True)
        assert np.all(found.max(1) == image_size)
        assert np.all(np.abs(found - exact)[exact >= 0.5] <= 0.5)
        assert np.all(found >= 1)
        np.testing.assert_array_equal(found[:, ::-1], fitted(sizes[:, ::-1], image_size))
    assert fitted(tf.constant([30000, 60000]), 1333).numpy().tolist() == [667, 1333]


@pytest.mark.parametrize("inside", [False, True], ids=["eager", "graph"])
@pytest.mark.parametrize("size", [(32, 20), (20, 32), (50, 100), (1, 90)])
def test_the_letterbox_pads_with_black(size: tuple[int, int], inside: bool):
    image = np.maximum(texture(*size), 1)
    function = tf.function(letterbox) if inside else letterbox
    boxed = function(tf.constant(image[None]), 32)
    assert boxed.shape == (1, 32, 32, 3)
    height, width = fitted(tf.constant(size), 32).numpy()
    boxed = boxed[0].numpy()
    np.testing.assert_array_equal(boxed[:height, :width], resized(image, height, width))
    assert not boxed[height:].any()
    assert not boxed[:, width:].any()


def test_padding_takes_any_value():
    maps = padded(tf.zeros((1, 2, 3, 1), tf.uint8), 4, 255).numpy()[0, ..., 0]
    assert maps.sum() == 255 * (16 - 6)
    assert not maps[:2, :3].any()
