"""Colour changes of the two views, in batches on the accelerator."""

import itertools
from typing import Any

import keras
import numpy as np
from keras import ops

PARAMETERS = (
    "brightness",
    "contrast",
    "saturation",
    "hue",
    "order",
    "grey",
    "sigma",
    "solarise",
)
ORDERS = tuple(itertools.permutations(("brightness", "contrast", "saturation", "hue")))

_SOLARISE_THRESHOLD = 128.0
_NUM_SLOTS = 6


@keras.saving.register_keras_serializable(package="pcd_tf")
class Photometric(keras.layers.Layer):
    """Applies colour jitter, grey, blur and solarise with parameters given for each example.

    The layer draws nothing: whoever makes the views draws the parameters from (seed, epoch,
    example), so a run can be repeated on any number of replicas. The stages run in the order of
    BYOL and MoCo v3: jitter, grey, blur, solarise. The operations are torchvision's `ColorJitter`
    on PIL images, clipped to 0..255 after each, but without PIL's rounding to 8 bits in between.

    - brightness f: `f * x`; contrast f: `f * x + (1 - f) * mean(luma(x))`, the mean over the image;
      saturation f: `f * x + (1 - f) * luma(x)`; luma by ITU-R 601 (0.299, 0.587, 0.114).
    - hue: a shift of the hue in HSV, in turns.
    - blur: a Gaussian sampled at whole pixels and normalised, not PIL's box approximation; beyond
      the border the edge pixel continues, as in PIL.
    - solarise: `255 - x` where `x >= 128`.

    Source: Grill et al., "Bootstrap Your Own Latent", 2020, arXiv 2006.07733, appendix B.

    Shapes: N images of H x W pixels, 3 channels (RGB); P = `len(PARAMETERS)` = 8.

    Args: those of `keras.layers.Layer`; the dtype is float32 whatever the policy.

    Call arguments:
        images: uint8 or float (N, H, W, 3), 0..255, any H and W.
        parameters: float (N, P), columns as in `PARAMETERS`: three factors (1 = none), hue shift
            in turns -0.5..0.5 (0 = none), the jitter's order as an index of `ORDERS`, grey 0 or 1,
            blur sigma in pixels (0 = none), solarise 0 or 1. Neutral: (1, 1, 1, 0, 0, 0, 0, 0).

    Returns: float32 (N, H, W, 3), 0..255.

    Raises: ValueError: when a shape is none of the above.

    Example:
        >>> images = np.full((2, 32, 32, 3), 100, "uint8")
        >>> brighter = [1.5, 1, 1, 0, 0, 0, 0, 0]
        >>> neutral = [1, 1, 1, 0, 0, 0, 0, 0]
        >>> out = Photometric()(images, np.array([brighter, neutral], "float32"))
        >>> [float(out[0, 0, 0, 0]), float(out[1, 0, 0, 0])]
        [150.0, 100.0]
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})

    def call(self, images: Any, parameters: Any) -> Any:
        _check_shapes(images.shape, parameters.shape)
        x = ops.transpose(ops.cast(images, "float32"), (0, 3, 1, 2))  # [N, 3, H, W]
        p = ops.cast(parameters, "float32")
        x = _jitter(x, p)
        x = ops.where(_column(p[:, 5]) > 0.5, _luma(x), x)
        x = _blur(x, p[:, 6])
        inverted = ops.where(x >= _SOLARISE_THRESHOLD, 255.0 - x, x)
        x = ops.where(_column(p[:, 7]) > 0.5, inverted, x)
        return ops.transpose(x, (0, 2, 3, 1))  # [N, H, W, 3]

    def compute_output_shape(self, images_shape: Any, parameters_shape: Any = None) -> Any:
        return images_shape


def _check_shapes(images: Any, parameters: Any) -> None:
    if len(images) != 4 or images[-1] != 3:
        raise ValueError(
            "`images` must be a batch of RGB images of shape (N, H, W, 3); give a single image a "
            f"leading axis of 1. Received: images of shape {tuple(images)}."
        )
    if len(parameters) != 2 or parameters[-1] != len(PARAMETERS):
        raise ValueError(
            f"`parameters` must hold one row for each image, shape (N, {len(PARAMETERS)}), with "
            f"the columns {PARAMETERS}. Received: parameters of shape {tuple(parameters)}."
        )


def _column(values: Any) -> Any:
    return ops.reshape(values, (-1, 1, 1, 1))  # [N] -> [N, 1, 1, 1]


def _luma(x: Any) -> Any:
    return 0.299 * x[:, 0:1] + 0.587 * x[:, 1:2] + 0.114 * x[:, 2:3]  # [N, 1, H, W]


def _blend_table() -> np.ndarray:
    """Which blend is due in which slot: (24 orders, 6 slots, 3 blends), one-hot or all zero.

    Hue is the dear operation, so it runs once, in the middle: up to three of the cheap blends
    come before it and up to three after it, and a slot without a blend changes nothing.
    """
    table = np.zeros((len(ORDERS), _NUM_SLOTS, 3), "float32")
    for row, order in enumerate(ORDERS):
        turn = order.index("hue")
        for slot, name in enumerate(order[:turn]):
            table[row, slot, PARAMETERS.index(name)] = 1.0
        for slot, name in enumerate(order[turn + 1 :], start=_NUM_SLOTS // 2):
            table[row, slot, PARAMETERS.index(name)] = 1.0
    return table


def _jitter(x: Any, p: Any) -> Any:
    blends = ops.take(_blend_table(), ops.cast(p[:, 4], "int32"), axis=0)  # [N, 6, 3]
    factors = 1.0 + ops.sum(blends * (p[:, None, :3] - 1.0), axis=-1)  # [N, 6]
    to_mean = (1.0 - factors) * blends[:, :, 1]  # contrast
    to_luma = (1.0 - factors) * blends[:, :, 2]  # saturation
    for slot in range(_NUM_SLOTS):
        if slot == _NUM_SLOTS // 2:
            x = _shift_hue(x, _column(p[:, 3]))
        luma = _luma(x)
        mean = ops.mean(luma, axis=(2, 3), keepdims=True)
        target = luma * _column(to_luma[:, slot]) + mean * _column(to_mean[:, slot])
        x = ops.clip(x * _column(factors[:, slot]) + target, 0.0, 255.0)
    return x


def _shift_hue(x: Any, shift: Any) -> Any:
    """Shifts the hue by `shift` turns, without the way through an HSV image.

    HSV to RGB in one line: channel n (5, 3, 1 for R, G, B) is value - chroma * w(n + 6 * hue),
    where w is the trapezoid clip(2 - distance to 2, 0, 1) on the circle of length 6.
    """
    red, green, blue = x[:, 0:1], x[:, 1:2], x[:, 2:3]
    value = ops.maximum(ops.maximum(red, green), blue)
    chroma = value - ops.minimum(ops.minimum(red, green), blue)
    # Six times the hue, times the chroma: 0 at red, 2 at green, 4 at blue.
    scaled = ops.where(
        ops.equal(value, red),
        green - blue,
        ops.where(ops.equal(value, green), blue - red + 2.0 * chroma, red - green + 4.0 * chroma),
    )
    hue = scaled / (6.0 * ops.maximum(chroma, 1e-6)) + shift  # [N, 1, H, W], in turns
    centres = np.array([3 / 6, 1 / 6, -1 / 6], "float32").reshape((1, 3, 1, 1))  # (n - 2) / 6
    turns = hue + centres  # [N, 3, H, W]
    distance = 6.0 * ops.abs(turns - ops.round(turns))
    shifted = value - chroma * ops.clip(2.0 - distance, 0.0, 1.0)
    return ops.where(ops.equal(shift, 0.0), x, shifted)


def _blur(x: Any, sigma: Any) -> Any:
    rows = _blur_matrix(sigma, ops.shape(x)[2])[:, None]  # [N, 1, H, H]
    columns = _blur_matrix(sigma, ops.shape(x)[3])[:, None]  # [N, 1, W, W]
    blurred = ops.matmul(ops.matmul(rows, x), ops.swapaxes(columns, -1, -2))  # [N, 3, H, W]
    return ops.where(_column(sigma) > 0.0, blurred, x)


def _blur_matrix(sigma: Any, size: Any) -> Any:
    """A Gaussian blur along one axis, as one (size, size) matrix for each example.

    Two products with it are quicker than shift-and-add over the taps, and need no largest sigma.
    """
    scale = 0.5 / ops.square(ops.maximum(sigma, 1e-3))  # [N]
    reach = ops.cast(ops.arange(4 * size), "float32")  # the kernel is cut at 4 image sizes
    half = ops.exp(-ops.square(reach) * scale[:, None])  # [N, 4 size]
    total = 2.0 * ops.sum(half, axis=1, keepdims=True) - 1.0  # [N, 1]
    # beyond[:, d]: the weight of everything further away than d pixels on one side.
    beyond = ops.flip(ops.cumsum(ops.flip(half / total, axis=1), axis=1), axis=1)[:, 1 : size + 1]
    i = ops.cast(ops.arange(size), "float32")
    distance = i[:, None] - i  # [size, size]
    inside = ops.exp(-ops.square(distance) * scale[:, None, None]) / total[:, :, None]
    first = ops.cast(ops.equal(i, 0.0), "float32")
    last = ops.flip(first, axis=0)
    return inside + beyond[:, :, None] * first + ops.flip(beyond, axis=1)[:, :, None] * last
