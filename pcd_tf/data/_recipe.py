"""How strong the augmentation of the two views is, and what random numbers make of it."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class ViewRecipe:
    """The random changes that make one view of an image.

    Source: Grill et al., "Bootstrap your own latent", 2020, arXiv 2006.07733, appendix B; strengths
    as in the public code of Pixel-Wise Contrastive Distillation.

    Args:
        crop_area: smallest and largest share of the image's area in the crop.
        crop_ratio: smallest and largest width / height of the crop.
        flip: probability of mirroring left and right.
        jitter: probability of the four colour changes that follow, in a random order.
        brightness, contrast, saturation: factors are drawn from 1 - strength to 1 + strength.
        hue: largest shift of the hue, in turns of the colour circle.
        grey: probability of dropping the colour.
        blur: probability of Gaussian blur.
        blur_sigma: smallest and largest standard deviation, in pixels of the view.
        solarise: probability of inverting the bright half.
    """

    crop_area: tuple[float, float] = (0.08, 1.0)
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    jitter: float = 0.8
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.2
    hue: float = 0.1
    grey: float = 0.2
    blur: float = 1.0
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    solarise: float = 0.0


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The recipes of the first and the second view."""

    first: ViewRecipe
    second: ViewRecipe

    def min_pixels(self, image_size: int) -> int:
        """How many pixels an image needs so that its smallest crop is not enlarged.

        A crop of area a and width / height r has sides of sqrt(a r) and sqrt(a / r).
        """
        smallest = min(
            view.crop_area[0] * min(view.crop_ratio[0], 1 / view.crop_ratio[1])
            for view in (self.first, self.second)
        )
        return math.ceil(image_size**2 / smallest)


# Distillation: BYOL's two views.
BYOL = Recipe(ViewRecipe(blur=1.0), ViewRecipe(blur=0.1, solarise=0.2))

# Pre-training: Chen, Xie, He, arXiv 2104.02057: BYOL's colours, larger crops.
MOCO_V3 = Recipe(
    dataclasses.replace(BYOL.first, crop_area=(0.2, 1.0)),
    dataclasses.replace(BYOL.second, crop_area=(0.2, 1.0)),
)


def draw_photometric(views: Sequence[ViewRecipe], numbers: tf.Tensor) -> tf.Tensor:
    """Makes the parameters of `pcd_tf.layers.Photometric` of V views from random numbers.

    Args:
        views: V recipes.
        numbers: float32 (V, 10), from [0, 1).

    Returns:
        float32 (V, 8): brightness, contrast, saturation (factors, 1 is none), hue (turns, 0 is
        none), order of these four (0 to 23), grey (0 or 1), sigma (pixels, 0 is none), solarise
        (0 or 1).
    """
    chances = tf.constant([(v.jitter, v.grey, v.blur, v.solarise) for v in views])
    jitter, grey, blur, solarise = tf.split(numbers[:, :4] < chances, 4, axis=1)
    strengths = np.array([(v.brightness, v.contrast, v.saturation) for v in views], np.float32)
    factors = _between(np.maximum(1 - strengths, 0), 1 + strengths, numbers[:, 4:7])
    hues = np.array([[v.hue] for v in views], np.float32)
    hue = _between(-hues, hues, numbers[:, 7:8])
    order = tf.floor(24 * numbers[:, 8:9])
    colour = tf.where(jitter, tf.concat([factors, hue, order], 1), [1.0, 1.0, 1.0, 0.0, 0.0])
    sigmas = np.array([v.blur_sigma for v in views], np.float32)
    sigma = tf.where(blur, _between(sigmas[:, :1], sigmas[:, 1:], numbers[:, 9:10]), 0.0)
    grey, solarise = tf.cast(grey, tf.float32), tf.cast(solarise, tf.float32)
    return tf.concat([colour, grey, sigma, solarise], axis=1)


def draw_crops(views: Sequence[ViewRecipe], size: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
    """Makes V crops as torchvision's RandomResizedCrop: ten tries, then the central crop.

    Args:
        views: V recipes.
        size: int32 (2,), height and width of the image in pixels.
        numbers: float32 (V, 22), from [0, 1).

    Returns:
        int32 (V, 4): y0, x0, y1, x1 in pixels, y1 and x1 not included.
    """
    size = tf.cast(size, tf.float32)
    areas = np.array([v.crop_area for v in views], np.float32)
    ratios = np.array([v.crop_ratio for v in views], np.float32)
    logs = np.log(ratios)
    area = tf.reduce_prod(size) * _between(areas[:, :1], areas[:, 1:], numbers[:, :10])
    ratio = tf.exp(_between(logs[:, :1], logs[:, 1:], numbers[:, 10:20]))
    tries = tf.round(tf.sqrt(tf.stack([area / ratio, area * ratio], axis=-1)))  # (V, 10, 2)
    fits = tf.reduce_all((tries >= 1) & (tries <= size), axis=-1)
    first = tf.argmax(fits, axis=1)
    drawn = tf.gather(tries, first, batch_dims=1)  # (V, 2)
    start = tf.floor(numbers[:, 20:22] * (size - drawn + 1))
    central = tf.clip_by_value(
        tf.round(size[::-1] / np.stack([ratios[:, 0], 1 / ratios[:, 1]], 1)), 1, size
    )
    is_drawn = tf.reduce_any(fits, axis=1, keepdims=True)
    sides = tf.where(is_drawn, drawn, central)
    start = tf.where(is_drawn, start, tf.floor((size - central) / 2))
    return tf.cast(tf.concat([start, start + sides], axis=1), tf.int32)


def _between(low: np.ndarray, high: np.ndarray, numbers: tf.Tensor) -> tf.Tensor:
    return low + (high - low) * numbers
