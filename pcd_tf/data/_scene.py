"""Draws one image of the synthetic world: textured shapes on a textured background."""

import functools
import math
from collections.abc import Callable

import numpy as np

Field = Callable[[np.ndarray, np.ndarray], np.ndarray]

MAX_OBJECTS = 6
RADIUS = (0.1, 0.26)  # of an object, as a share of the image's side
PERIOD = (0.045, 0.085)  # of a texture, likewise
MIN_VISIBLE = 0.35  # share of an object that others must leave visible


def _disc(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.hypot(y, x) - 0.9


def _square(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.maximum(abs(y), abs(x)) - 0.75


def _star(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.hypot(y, x) - (0.68 + 0.3 * np.cos(5 * np.arctan2(y, x)))


def _triangle(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    slanted = math.sqrt(3) / 2 * abs(x) - y / 2
    return np.maximum(y, slanted) - 0.5


def _stripes(v: np.ndarray, u: np.ndarray) -> np.ndarray:
    return np.sin(2 * np.pi * u) + 0 * v


def _checks(v: np.ndarray, u: np.ndarray) -> np.ndarray:
    return 2 * np.sin(np.pi * u) * np.sin(np.pi * v)


def _dots(v: np.ndarray, u: np.ndarray) -> np.ndarray:
    return 4 * (0.4 - np.hypot(u - np.round(u), v - np.round(v)))


# A shape is negative inside; it takes coordinates in radii. A texture is negative in one of its two
# colours and positive in the other; it takes coordinates in periods.
SHAPES: dict[str, Field] = {"disc": _disc, "square": _square, "star": _star, "triangle": _triangle}
TEXTURES: dict[str, Field] = {"striped": _stripes, "checked": _checks, "dotted": _dots}


def draw(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draws an image of `size` x `size` pixels.

    Returns:
        the image, uint8 (H, W, 3); of n objects, the last one in front, the labels, int64 (n,), and
        the visible pixels, bool (n, H, W). Label: texture * number of shapes + shape.
    """
    image = _background(rng, size)
    labels: list[int] = []
    masks: list[np.ndarray] = []
    areas: list[int] = []
    for _ in range(rng.integers(2, MAX_OBJECTS + 1)):
        label = int(rng.integers(len(SHAPES) * len(TEXTURES)))
        rows, columns, alpha, pixels = _object(rng, size, label)
        mask = np.zeros((size, size), np.bool_)
        mask[rows, columns] = alpha > 0.5
        area = int(mask.sum())
        left = [np.count_nonzero(other & ~mask) for other in masks]
        if any(n < MIN_VISIBLE * whole for n, whole in zip(left, areas, strict=True)):
            continue  # it would hide one of the others
        under = image[rows, columns]
        image[rows, columns] = under + alpha[:, :, None] * (pixels - under)
        masks = [*(other & ~mask for other in masks), mask]
        labels.append(label)
        areas.append(area)
    image = _lit(image, rng)
    return image, np.array(labels, np.int64), np.stack(masks)


def _object(
    rng: np.random.Generator, size: int, label: int
) -> tuple[slice, slice, np.ndarray, np.ndarray]:
    """Draws one object: where, float32 alpha (h, w), and colours (h, w, 3)."""
    texture_index, shape_index = divmod(label, len(SHAPES))
    shape = list(SHAPES.values())[shape_index]
    texture = list(TEXTURES.values())[texture_index]
    radius = size * rng.uniform(*RADIUS)
    centre_y, centre_x = rng.uniform(0.06 * size, 0.94 * size, 2)
    rows = _extent(centre_y, 1.25 * radius, size)
    columns = _extent(centre_x, 1.25 * radius, size)
    y, x = _turned(rows, columns, centre_y, centre_x, rng.uniform(0, 2 * np.pi))
    stretch = rng.uniform(0.8, 1.25)  # of the proportions, at the same area
    distance = shape(y * (stretch / radius), x / (stretch * radius))
    alpha = np.clip(0.5 - radius * distance, 0, 1)
    pixels = _tones(rng, size, texture, rows, columns)
    shade = 1 + rng.uniform(0, 0.3) * np.clip((y + x) / radius, -1, 1)
    return rows, columns, alpha, pixels * shade[:, :, None]


def _background(rng: np.random.Generator, size: int) -> np.ndarray:
    """Draws two textures that meet along a winding border, float32 (H, W, 3)."""
    textures = list(TEXTURES.values())
    everywhere = slice(0, size)
    first, second = (
        _tones(rng, size, textures[i], everywhere, everywhere)
        for i in rng.integers(len(textures), size=2)
    )
    border = np.clip(0.5 + 0.1 * size * _smooth_noise(rng, size, 4), 0, 1)[:, :, None]
    return first + border * (second - first)


def _tones(
    rng: np.random.Generator, size: int, texture: Field, rows: slice, columns: slice
) -> np.ndarray:
    """Paints a rectangle with a texture in two random colours, float32 (h, w, 3)."""
    origin_y, origin_x = rng.uniform(0, size, 2)
    y, x = _turned(rows, columns, origin_y, origin_x, rng.uniform(0, 2 * np.pi))
    period = size * rng.uniform(*PERIOD)
    softness = 0.25 * period  # an edge is about a pixel wide
    tone = np.clip(0.5 + softness * texture(y / period, x / period), 0, 1)[:, :, None]
    first, second = _two_colours(rng)
    return first + tone * (second - first)


def _two_colours(rng: np.random.Generator) -> np.ndarray:
    """Draws two colours that can be told apart, float32 (2, 3), 0 to 255."""
    middle = rng.uniform(60, 195, 3)
    difference = rng.normal(size=3)
    difference *= rng.uniform(25, 75) / np.linalg.norm(difference) * math.sqrt(3)
    return np.stack([middle - difference, middle + difference]).astype(np.float32)


def _lit(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Adds uneven light, a colour cast, and the camera's noise; uint8 (H, W, 3)."""
    size = len(image)
    light = rng.uniform(0.65, 1.2) + rng.uniform(0, 0.3) * _smooth_noise(rng, size, 3)
    image = image * light[:, :, None] * rng.uniform(0.8, 1.2, 3).astype(np.float32)
    noise = rng.standard_normal(image.shape, np.float32)
    image += np.float32(rng.uniform(1, 10)) * noise
    return np.clip(image, 0, 255).astype(np.uint8)


def _extent(centre: float, reach: float, size: int) -> slice:
    return slice(max(0, math.floor(centre - reach)), min(size, math.ceil(centre + reach)))


def _turned(
    rows: slice, columns: slice, centre_y: float, centre_x: float, angle: float
) -> tuple[np.ndarray, np.ndarray]:
    """Gives the coordinates of a rectangle's pixels around a centre, turned; two float32 (h, w)."""
    y = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] + np.float32(0.5 - centre_y)
    x = np.arange(columns.start, columns.stop, dtype=np.float32) + np.float32(0.5 - centre_x)
    cosine, sine = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    return cosine * y + sine * x, cosine * x - sine * y


def _smooth_noise(rng: np.random.Generator, size: int, knots: int) -> np.ndarray:
    """Interpolates random values, knots x knots of them, to float32 (H, W), about -1 to 1."""
    weights = _interpolation(size, knots)
    return weights @ rng.uniform(-1, 1, (knots, knots)).astype(np.float32) @ weights.T


@functools.cache
def _interpolation(size: int, knots: int) -> np.ndarray:
    positions = np.linspace(0, knots - 1, size)[:, None]
    return np.maximum(0, 1 - abs(positions - np.arange(knots))).astype(np.float32)
