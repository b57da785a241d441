"""A source of arrays for the tests."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from pcd_tf.data import Source


class Pictures(Source):
    """Images that lie in memory, uint8 (H, W, 3) each."""

    def __init__(self, name: str, images: Sequence[np.ndarray]) -> None:
        super().__init__(name, len(images))
        self._images = images

    def image_name(self, index: int) -> str:
        return f"{index}.png"

    def open(self, index: int, payload: object, *, min_pixels: int | None = None) -> Image.Image:
        return Image.fromarray(self._images[index])
