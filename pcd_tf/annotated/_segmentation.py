"""COCO's three ways to write a mask -> its compressed run lengths."""

import math
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

MIN_NUMBERS = 6  # of a polygon: three points
MAX_CHARACTERS = 7  # of a compressed number: 35 bits, more than the pixels of any image


def rle(segmentation: Any, height: int, width: int) -> dict[str, Any]:
    """Compresses a segmentation that `fault` finds nothing wrong with.

    Args:
        segmentation: polygons, or run lengths, compressed or not.
        height: of the image, in pixels.
        width: of the image, in pixels.

    Returns:
        {"size": [H, W], "counts": str}, ready for JSON and for pycocotools.
    """
    if isinstance(segmentation, dict):
        counts = segmentation["counts"]
        if isinstance(counts, list):
            counts = coco_mask.frPyObjects(segmentation, height, width)["counts"]
    else:
        polygons = [polygon for polygon in segmentation if len(polygon) >= MIN_NUMBERS]
        counts = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))["counts"]
    if isinstance(counts, bytes):
        counts = counts.decode("ascii")
    return {"size": [height, width], "counts": counts}


def is_given(segmentation: Any) -> bool:
    """Tells whether there is a mask at all: many files write [] where there is none."""
    if isinstance(segmentation, list):
        return any(not isinstance(p, list) or len(p) >= MIN_NUMBERS for p in segmentation)
    return segmentation is not None


def fault(segmentation: Any, height: int, width: int) -> str | None:
    """Says what is wrong with a segmentation that is given; None: nothing."""
    if isinstance(segmentation, dict):
        return _fault_of_run_lengths(segmentation, height, width)
    if not isinstance(segmentation, list):
        return f"a segmentation of type {type(segmentation).__name__}"
    for polygon in segmentation:
        if not isinstance(polygon, list) or len(polygon) % 2:
            return "a polygon that is no list of x and y"
        if not _is_finite(polygon):
            return "a polygon with NaN, an infinite number or no number"
    return None


def _is_finite(numbers: list[Any]) -> bool:
    try:
        return math.isfinite(sum(numbers))  # one that is not finite makes the sum so, and fast
    except TypeError:
        return False


def _fault_of_run_lengths(segmentation: dict[str, Any], height: int, width: int) -> str | None:
    counts, size = segmentation.get("counts"), segmentation.get("size")
    if size != [height, width]:
        return f"run lengths of size {size} in an image of [{height}, {width}] (height, width)"
    if not isinstance(counts, list | str):
        return f"run lengths of type {type(counts).__name__}"
    lengths = counts if isinstance(counts, list) else _decompressed(counts)
    are_lengths = all(isinstance(n, int) and n >= 0 for n in lengths)
    if not are_lengths or sum(lengths) != height * width:
        return "run lengths that do not add up to the image"
    return None


def _decompressed(counts: str) -> list[int]:
    """Reads compressed run lengths; [] where they make no sense.

    pycocotools does not check them: too few leave a mask of whatever was in memory. They are five
    bits a character, lowest first, with a sign, and from the fourth on what is more than two
    before (cocoapi, common/maskApi.c, rleFrString).
    """
    bits = np.frombuffer(counts.encode("utf-8"), np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero(bits & 32 == 0)  # 32: the number goes on
    if not bits.size or bits.min() < 0 or bits.max() > 63 or bits[-1] & 32:
        return []
    sizes = np.diff(ends, prepend=-1)  # characters of each number
    if sizes.max() > MAX_CHARACTERS:
        return []
    starts = ends + 1 - sizes
    place = np.arange(bits.size) - np.repeat(starts, sizes)
    lengths = np.add.reduceat((bits & 31) << 5 * place, starts)
    lengths -= np.where(bits[ends] & 16, 1 << 5 * sizes, 0)  # 16 of the last one: negative
    lengths[1::2] = np.cumsum(lengths[1::2])
    lengths[2::2] = np.cumsum(lengths[2::2])
    return lengths.tolist()
