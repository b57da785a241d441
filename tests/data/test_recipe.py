import dataclasses

import numpy as np
import pytest

from pcd_tf.data import BYOL, MOCO_V3, ViewRecipe
from pcd_tf.data._recipe import draw_crops, draw_photometric

NUM_DRAWS = 4000


def numbers(count: int, seed: int = 0) -> np.ndarray:
    """Random numbers for NUM_DRAWS examples."""
    return np.random.default_rng(seed).random((NUM_DRAWS, count), np.float32)


def crops(view: ViewRecipe, height: int, width: int) -> np.ndarray:
    """As if an image had NUM_DRAWS views."""
    return draw_crops([view] * NUM_DRAWS, (height, width), numbers(22)).numpy()


@pytest.mark.parametrize(
    ("view", "blur", "solarise"),
    [
        (BYOL.first, 1.0, 0.0),
        (BYOL.second, 0.1, 0.2),
        (MOCO_V3.first, 1.0, 0.0),
        (MOCO_V3.second, 0.1, 0.2),
    ],
)
def test_probabilities_and_ranges_are_the_recipe_s(view: ViewRecipe, blur: float, solarise: float):
    parameters = draw_photometric([view] * NUM_DRAWS, numbers(10)).numpy()
    assert parameters.shape == (NUM_DRAWS, 8)
    assert parameters.dtype == np.float32
    brightness, contrast, saturation, hue, order, grey, sigma, solarised = parameters.T
    jittered = brightness != 1
    assert abs(jittered.mean() - 0.8) < 0.03
    np.testing.assert_array_equal(parameters[~jittered, :5], [[1, 1, 1, 0, 0]] * (~jittered).sum())
    for values, low, high in (
        (brightness[jittered], 0.6, 1.4),
        (contrast[jittered], 0.6, 1.4),
        (saturation[jittered], 0.8, 1.2),
        (hue[jittered], -0.1, 0.1),
        (sigma[sigma > 0], 0.1, 2.0),
    ):
        width = high - low
        assert low - 1e-6 <= values.min() < low + 0.05 * width
        assert high - 0.05 * width < values.max() <= high + 1e-6
        assert abs(values.mean() - (low + high) / 2) < 0.05 * width
    counts = np.bincount(order[jittered].astype(int), minlength=24)
    assert len(counts) == 24
    assert counts.min() > 0.6 * counts.mean()
    assert abs(grey.mean() - 0.2) < 0.03
    assert set(grey) == {0, 1}
    assert abs((sigma > 0).mean() - blur) < 0.03
    assert abs(solarised.mean() - solarise) < 0.03
    assert set(solarised) <= {0, 1}
    switches = np.corrcoef(np.stack([jittered, grey]))
    assert abs(switches[0, 1]) < 0.06  # independent of one another


@pytest.mark.parametrize(("recipe", "smallest"), [(BYOL, 0.08), (MOCO_V3, 0.2)])
def test_crops_have_the_areas_and_ratios_of_the_recipe(recipe, smallest: float):
    for view in (recipe.first, recipe.second):
        boxes = crops(view, 300, 400)
        y0, x0, y1, x1 = boxes.T
        assert y0.min() == x0.min() == 0
        assert (y1.max(), x1.max()) == (300, 400)
        height, width = y1 - y0, x1 - x0
        area, ratio = height * width / (300 * 400), width / height
        assert smallest * 0.98 < area.min() < smallest + 0.02
        assert area.max() > 0.93
        assert 0.73 < ratio.min() < 0.78
        assert 1.29 < ratio.max() < 1.36
        assert abs(np.mean(np.log(ratio))) < 0.05
        slack = 300 - height  # a crop lies anywhere it fits
        assert abs(np.mean(y0[slack > 0] / slack[slack > 0]) - 0.5) < 0.02


def by_torchvision(view: ViewRecipe, height: int, width: int, rng) -> tuple[int, int, int, int]:
    """As torchvision.transforms.RandomResizedCrop.get_params (0.20), on NumPy's numbers."""
    area, logs = height * width, np.log(view.crop_ratio)
    for _ in range(10):
        target = area * rng.uniform(*view.crop_area)
        ratio = np.exp(rng.uniform(*logs))
        w, h = round(np.sqrt(target * ratio)), round(np.sqrt(target / ratio))
        if 0 < w <= width and 0 < h <= height:
            i, j = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
            return i, j, i + h, j + w
    w, h = width, height
    if width / height < view.crop_ratio[0]:
        h = round(w / view.crop_ratio[0])
    elif width / height > view.crop_ratio[1]:
        w = round(h * view.crop_ratio[1])
    i, j = (height - h) // 2, (width - w) // 2
    return i, j, i + h, j + w


@pytest.mark.parametrize("size", [(300, 400), (64, 200), (333, 21), (8, 8)])
def test_crops_are_distributed_as_torchvision_s(size: tuple[int, int]):
    rng = np.random.default_rng(1)
    for view in (BYOL.first, MOCO_V3.first):
        ours = crops(view, *size)
        theirs = np.array([by_torchvision(view, *size, rng) for _ in range(NUM_DRAWS)])
        assert np.all((ours[:, :2] >= 0) & (ours[:, 2:] <= size) & (ours[:, :2] < ours[:, 2:]))
        for boxes in (ours, theirs):
            boxes[:, 2:] -= boxes[:, :2]  # y0, x0, height, width
        for column in range(4):
            # Kolmogorov and Smirnov's largest distance of two samples; 1.95 is passed once in 1000.
            values = np.unique([ours[:, column], theirs[:, column]])
            shares = [
                np.searchsorted(np.sort(boxes[:, column]), values, "right") / NUM_DRAWS
                for boxes in (ours, theirs)
            ]
            assert np.abs(shares[0] - shares[1]).max() < 1.95 * np.sqrt(2 / NUM_DRAWS)
        spread = [np.cov(boxes.T[2:], bias=True)[0, 1] / np.prod(size) for boxes in (ours, theirs)]
        assert abs(spread[0] - spread[1]) < 0.004  # of height and width; they go together


def test_views_draw_by_themselves():
    views, drawn = (BYOL.first, MOCO_V3.second), numbers(32)[:2]
    boxes = draw_crops(views, (300, 400), drawn[:, :22]).numpy()
    colours = draw_photometric(views, drawn[:, 22:]).numpy()
    for i in (0, 1):
        alone = draw_crops(views[i : i + 1], (300, 400), drawn[i : i + 1, :22])
        np.testing.assert_array_equal(alone[0], boxes[i])
        alone = draw_photometric(views[i : i + 1], drawn[i : i + 1, 22:])
        np.testing.assert_array_equal(alone[0], colours[i])


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (10, 1000, (0, 493, 10, 506)),
        (1000, 10, (493, 0, 506, 10)),
        (1, 1000, (0, 499, 1, 500)),
        (1, 1, (0, 0, 1, 1)),
    ],
)
def test_an_image_too_narrow_gives_its_centre(height: int, width: int, expected):
    view = dataclasses.replace(BYOL.first, crop_area=(0.9, 1.0))
    assert {tuple(box) for box in crops(view, height, width).tolist()} == {expected}


def test_the_smallest_crop_is_not_enlarged():
    """Of an image with just `min_pixels`, crops are as large as the view, rounding aside."""
    side = int(np.ceil(np.sqrt(BYOL.min_pixels(64))))
    boxes = crops(BYOL.first, side, side)
    sides = np.minimum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    assert 63 <= sides.min() <= 66
