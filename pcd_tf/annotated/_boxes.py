"""Boxes as they were annotated -> boxes inside their image, and what had to be done to them."""

import collections
from collections.abc import Iterable, Mapping

import numpy as np

from pcd_tf.annotated._source import MAX_OBJECTS

MIN_SIDE = 1.0  # pixels; a thinner box has nothing to learn from
TOLERANCE = 1e-3  # pixels; a rounding error is no clipping


def inside(boxes: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Clips the boxes of an image to it.

    Args:
        boxes: float64 (n, 4), x1, y1, x2, y2 in pixels.
        height: of the image, in pixels.
        width: of the image, in pixels.

    Returns:
        the clipped boxes, float32 (n, 4); bool (n,), which of them are a pixel or more high and
        wide; and how many of those were clipped.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)  # n boxes -> (n, 4), for n = 0 as well
    clipped = np.clip(boxes, 0, np.array([width, height, width, height], np.float64))
    sides = clipped[:, 2:] - clipped[:, :2]
    kept = np.all(sides >= MIN_SIDE - TOLERANCE, axis=1)
    was_clipped = np.any(abs(clipped - boxes) > TOLERANCE, axis=1)
    return clipped.astype(np.float32), kept, int(np.sum(was_clipped & kept))


def counts(images: Iterable[tuple[int, int, int, int]]) -> Mapping[str, int]:
    """Adds up what `Source.counts` offers.

    Args:
        images: of each image the numbers of objects kept, clipped and dropped, and of those kept
            the ones that are no crowd.
    """
    total = collections.Counter(
        num_objects=0, num_clipped=0, num_dropped=0, num_empty_images=0, num_beyond_max=0
    )
    for num_kept, num_clipped, num_dropped, num_single in images:
        total["num_objects"] += num_kept
        total["num_clipped"] += num_clipped
        total["num_dropped"] += num_dropped
        total["num_empty_images"] += not num_kept
        total["num_beyond_max"] += max(0, num_single - MAX_OBJECTS)
    return dict(total)
