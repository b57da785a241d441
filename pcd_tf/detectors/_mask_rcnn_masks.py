"""Masks that a detector predicts inside of its boxes, pasted into the image as COCO RLE."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pycocotools.mask

Array = npt.NDArray[Any]

THRESHOLD = 0.5  # He et al., "Mask R-CNN", 2017, arXiv 1703.06870, section 3.1


def paste(masks: Array, boxes: Array, size: tuple[int, int]) -> list[dict[str, Any]]:
    """Pastes masks into an image: bilinear between the centres of a mask's cells, 0 outside.

    Shapes: N objects, M x M cells of a mask.

    Args:
        masks: float (N, M, M), probabilities in 0..1; the cells divide the box evenly.
        boxes: float (N, 4), x1, y1, x2, y2 in pixels of the image.
        size: height and width of the image in pixels.

    Returns:
        N masks as compressed COCO RLE, "counts" as text so that JSON can hold it.

    Example:
        paste(np.ones((1, 28, 28)), np.array([[8, 8, 24, 24]]), (32, 32))  # 256 pixels set
    """
    height, width = size
    encoded = []
    for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=True):
        top, bottom = _pixels(y1, y2, height)
        left, right = _pixels(x1, x2, width)
        rows = _weights(top, bottom, y1, y2, mask.shape[0])
        columns = _weights(left, right, x1, x2, mask.shape[1])
        canvas = np.zeros((height, width), np.uint8, order="F")
        canvas[top:bottom, left:right] = rows @ mask @ columns.T >= THRESHOLD
        rle = pycocotools.mask.encode(canvas)
        encoded.append({"size": [height, width], "counts": rle["counts"].decode("ascii")})
    return encoded


def _pixels(start: float, stop: float, limit: int) -> tuple[int, int]:
    """The range of pixels that a box touches."""
    return max(int(np.floor(start)), 0), min(int(np.ceil(stop)), limit)


def _weights(first: int, last: int, start: float, stop: float, num_cells: int) -> Array:
    """The matrix (pixels, cells) that interpolates along one axis.

    Pixel p has its centre at p + 0.5; cell c has its centre at start + (c + 0.5) / num_cells of the
    box. What lies beyond the outermost centres counts as the outermost cell and 0 by half.
    """
    cell = max(stop - start, 1e-6) / num_cells
    place = (np.arange(first, last)[:, None] + 0.5 - start) / cell - 0.5
    distance = np.abs(place - np.arange(num_cells)[None, :])
    return np.maximum(1.0 - distance, 0.0)
