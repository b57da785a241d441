import dataclasses

import numpy as np
import pytest

from pcd_tf.data import BYOL, MOCO_V3, ViewRecipe
from pcd_tf.data._recipe import draw_crop, draw_photometric, generator

NUM_DRAWS = 4000


def draws(view: ViewRecipe) -> np.ndarray:
    return np.stack([draw_photometric(view, generator(0, 0, i)) for i in range(NUM_DRAWS)])


def test_draws_are_a_function_of_seed_epoch_and_index():
    first = draw_photometric(BYOL.first, generator(1, 2, 3))
    np.testing.assert_array_equal(first, draw_photometric(BYOL.first, generator(1, 2, 3)))
    others = {
        tuple(draw_photometric(BYOL.first, generator(*key)))
        for key in ((0, 2, 3), (1, 0, 3), (1, 2, 0), (3, 2, 1), (1, 3, 2), (2, 1, 3))
    }
    assert len(others | {tuple(first)}) == 7


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
    parameters = draws(view)
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
        boxes = np.array([draw_crop(view, 300, 400, generator(0, 0, i)) for i in range(NUM_DRAWS)])
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
    assert draw_crop(view, height, width, generator(0, 0, 0)) == expected


def test_the_smallest_crop_is_not_enlarged():
    """Of an image with just `min_pixels`, crops are as large as the view, rounding aside."""
    side = int(np.ceil(np.sqrt(BYOL.min_pixels(64))))
    boxes = np.array([draw_crop(BYOL.first, side, side, generator(0, 0, i)) for i in range(2000)])
    sides = np.minimum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    assert 63 <= sides.min() <= 66
