"""COCO's three ways to write a mask -> its compressed run lengths."""

import re
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta
from pycocotools import mask as coco_mask

from pcd_tf import outside

MIN_NUMBERS = 6  # of a polygon: three points
# Of compressed run lengths: five bits a character, of which "0" to "O" are the last of a number
# (cocoapi, common/maskApi.c, rleFrString). pycocotools reads on behind the text where the last one
# is missing, and no run has more than 35 bits.
RUN_LENGTHS = re.compile("(?:[P-o]{0,6}[0-O])+")
MOST_PIXELS = 2**30  # of a mask of run lengths; more than any image that is decoded
# An outline that follows the edges of pixels, none of them twice, has at most 4 sides a pixel; a
# longer one is nonsense. pycocotools keeps 5 points for each pixel of its length: 0.8 GB at 1e7; at
# 1e8 it crashes, however large the image is.
MAX_LENGTH = 4  # of an outline, in pixels a pixel of the image
LONGEST = 10**7  # of any outline, in pixels; the border of the largest JPEG is 262,140 long
# Pixels: far out of any image, and safe to compute with; neither NaN nor infinite.
Coordinate = Annotated[float, Meta(ge=-1e9, le=1e9)]


class _RunLengths(msgspec.Struct, gc=False):
    size: tuple[int, int]  # height, width
    counts: str | list[Annotated[int, Meta(ge=0)]]


_DECODER: msgspec.json.Decoder[list[list[float]] | _RunLengths | None] = msgspec.json.Decoder(
    list[list[Coordinate]] | _RunLengths | None, strict=False
)


def rle(segmentation: msgspec.Raw, height: int, width: int) -> dict[str, Any]:
    """Compresses a segmentation that `fault` finds nothing wrong with.

    Args:
        segmentation: JSON of polygons, or of run lengths, compressed or not.
        height: of the image, in pixels.
        width: of the image, in pixels.

    Returns:
        {"size": [H, W], "counts": str}, ready for JSON and for pycocotools.
    """
    decoded = _DECODER.decode(segmentation)
    if isinstance(decoded, _RunLengths):
        counts = decoded.counts
        if isinstance(counts, list):
            plain = {"size": [height, width], "counts": counts}
            counts = coco_mask.frPyObjects(plain, height, width)["counts"].decode("ascii")
    else:
        encoded = coco_mask.frPyObjects(_with_area(decoded or []), height, width)
        counts = coco_mask.merge(encoded)["counts"].decode("ascii")
    return {"size": [height, width], "counts": counts}


def bounds(segmentation: msgspec.Raw) -> tuple[float, float, float, float] | None:
    """Gives x1, y1, x2, y2 of polygons; None where there are none."""
    try:
        decoded = _DECODER.decode(segmentation)
    except msgspec.DecodeError:
        return None
    outlines = decoded if isinstance(decoded, list) else []
    xs, ys = ([v for outline in outlines for v in outline[axis::2]] for axis in (0, 1))
    return (min(xs), min(ys), max(xs), max(ys)) if ys else None


def fault(segmentation: msgspec.Raw, height: int, width: int) -> str | None:
    """Says what is wrong with a segmentation, behind its path; None: it is a mask of the image."""
    try:
        decoded = _DECODER.decode(segmentation)
    except msgspec.DecodeError as error:
        return outside.fault(error)
    if isinstance(decoded, _RunLengths):
        return _fault_of_run_lengths(decoded, height, width)
    if decoded is None or not _with_area(decoded):
        return ": expected polygons or run lengths, received none"
    limit = min(MAX_LENGTH * height * width, LONGEST)
    for place, polygon in enumerate(decoded):
        if len(polygon) % 2:
            return f"[{place}]: expected x and y in turn, received {len(polygon)} numbers"
        if polygon and not _is_short(polygon, limit):
            return (
                f"[{place}]: expected an outline on the image, received one far outside or endless"
            )
    return None


def _with_area(polygons: list[list[float]]) -> list[list[float]]:
    return [polygon for polygon in polygons if len(polygon) >= MIN_NUMBERS]


def _is_short(polygon: list[float], limit: float) -> bool:
    """Tells whether an outline, drawn from the image's corner on, is no longer than the limit."""
    longest_step = max(max(polygon), 0.0) - min(min(polygon), 0.0)
    if (len(polygon) / 2 + 1) * longest_step <= limit:  # so it is for most, and this is fast
        return True
    points = np.array([0.0, 0.0, *polygon]).reshape(-1, 2)  # (points, x and y)
    return bool(abs(np.diff(points, axis=0)).max(axis=1).sum() <= limit)


def _fault_of_run_lengths(given: _RunLengths, height: int, width: int) -> str | None:
    if given.size != (height, width):
        return (
            f".size: expected the image's {height}, {width} (height, width), "
            f"received {given.size[0]}, {given.size[1]}"
        )
    is_whole = (
        sum(given.counts) == height * width
        if isinstance(given.counts, list)
        else _fill(given.counts, height * width)
    )
    if not is_whole:
        return ".counts: expected run lengths that add up to the image, received others"
    return None


def _fill(counts: str, num_pixels: int) -> bool:
    """Tells whether compressed run lengths fill so many pixels, and neither more nor fewer.

    pycocotools refuses only more: of too few it makes a mask of whatever was in memory.
    """
    if num_pixels > MOST_PIXELS or not RUN_LENGTHS.fullmatch(counts):
        return False
    return _fit(counts, num_pixels) and not _fit(counts, num_pixels - 1)


def _fit(counts: str, num_pixels: int) -> bool:
    try:
        coco_mask.decode({"size": [num_pixels, 1], "counts": counts})
    except ValueError:
        return False
    return True
