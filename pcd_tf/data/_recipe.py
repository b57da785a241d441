"""How strong the augmentation of the two views is, and the random numbers of one view."""

import dataclasses
import math

import numpy as np

Box = tuple[int, int, int, int]  # y0, x0, y1, x1 in pixels, y1 and x1 not included


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


def generator(seed: int, epoch: int, index: int) -> np.random.Generator:
    """Makes the random numbers of one example in one epoch, whatever came before it."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, epoch, index])))


def draw_photometric(view: ViewRecipe, rng: np.random.Generator) -> np.ndarray:
    """Draws the parameters of `pcd_tf.layers.Photometric` for one view.

    Returns:
        float32 (8,): brightness, contrast, saturation (factors, 1 is none), hue (turns, 0 is none),
        order of these four (0 to 23), grey (0 or 1), sigma (pixels, 0 is none), solarise (0 or 1).
    """
    # All numbers are drawn whether used or not, so that one setting does not shift the next one's.
    jitter, grey, blur, solarise = rng.random(4) < (
        view.jitter,
        view.grey,
        view.blur,
        view.solarise,
    )
    strengths = np.array([view.brightness, view.contrast, view.saturation])
    factors = rng.uniform(np.maximum(1 - strengths, 0), 1 + strengths)
    hue = rng.uniform(-view.hue, view.hue)
    order = rng.integers(24)
    sigma = rng.uniform(*view.blur_sigma)
    colour = (*factors, hue, order) if jitter else (1, 1, 1, 0, 0)
    return np.array([*colour, grey, sigma if blur else 0, solarise], np.float32)


def draw_crop(view: ViewRecipe, height: int, width: int, rng: np.random.Generator) -> Box:
    """Draws a crop as torchvision's RandomResizedCrop: ten tries, then the central crop."""
    log_ratio = np.log(view.crop_ratio)
    for _ in range(10):
        area = height * width * rng.uniform(*view.crop_area)
        ratio = math.exp(rng.uniform(*log_ratio))
        h, w = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
        if 0 < h <= height and 0 < w <= width:
            y, x = rng.integers((height - h + 1, width - w + 1)).tolist()
            return y, x, y + h, x + w
    low, high = view.crop_ratio
    h = min(height, max(1, round(width / low)))
    w = min(width, max(1, round(height * high)))
    y, x = (height - h) // 2, (width - w) // 2
    return y, x, y + h, x + w
