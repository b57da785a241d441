"""How images of 0..255 are normalised for a network: as ImageNet's are, or as a preset says."""

import os
from typing import NamedTuple

import keras_hub
import numpy as np

IMAGENET_MEAN = (123.675, 116.28, 103.53)  # of images in 0..255, RGB
IMAGENET_STD = (58.395, 57.12, 57.375)

_Three = tuple[float, float, float]


class Normalisation(NamedTuple):
    """Images become (images - mean) / std.

    Args:
        mean: per channel, of RGB images in 0..255.
        std: likewise.
        source: who says so, for people to read.
    """

    mean: _Three
    std: _Three
    source: str


ASSUMED = Normalisation(IMAGENET_MEAN, IMAGENET_STD, "ImageNet's, assumed: the preset has none")


def of_preset(preset: str | os.PathLike[str]) -> Normalisation:
    """Finds what a KerasHub preset's image converter does to an image: x * scale + offset.

    A converter without scale and offset leaves 0..255 as it is, and so do we: its network is made
    for that. Only a preset without a converter says nothing; then ImageNet's is assumed.

    Raises:
        OSError: when it cannot be looked up, of the network beneath.
    """
    try:
        converter = keras_hub.layers.ImageConverter.from_preset(os.fspath(preset))
    except (FileNotFoundError, ValueError, KeyError):  # none in it, or one that is for no image
        return ASSUMED
    scale = _three(1.0 if converter.scale is None else converter.scale)
    offset = _three(0.0 if converter.offset is None else converter.offset)
    red, green, blue = (float(x) for x in (0.0 - offset) / scale)
    deviations = tuple(float(x) for x in 1.0 / scale)
    return Normalisation(
        (red, green, blue), (deviations[0], deviations[1], deviations[2]), "the preset's"
    )


def _three(values: object) -> np.ndarray:
    return np.broadcast_to(np.asarray(values, "float64"), (3,))
