"""Tells boxes of another format from COCO's x, y, width, height in pixels."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from pcd_tf.data import _segmentation
from pcd_tf.errors import UserError

FAR = 0.05  # of the image's side; a box that is off by less was drawn carelessly
NEARLY_ALL = 0.9  # the rest may be mistakes of the annotators
# Corners read as widths leave the image for three boxes in four: all but those whose centre is in
# the upper left quarter. Of objects drawn whole, fewer than one in four leave it.
LEAVING_AS_CORNERS = 0.25
# Where half of all boxes leave their image they are not of it, whatever they are.
LEAVING = 0.5
FEWEST_CORNERS = 2  # boxes that must speak for corners, by a mark that widths rarely have
FEWEST = 10  # boxes, by one that widths may have: areas are those of masks; half may be bad luck
NUM_OUTLINES = 1000  # that boxes are compared with; more would say the same


def check(
    boxes: np.ndarray,
    sizes: np.ndarray,
    areas: np.ndarray,
    segmentations: Sequence[msgspec.Raw],
    file: Path,
) -> None:
    """Refuses boxes that cannot be what COCO's are.

    Args:
        boxes: float64 (n, 4), read as x, y, width, height in pixels.
        sizes: int (n, 2), width and height of the image of each.
        areas: float64 (n,), NaN where not given.
        segmentations: n, as the file has them.
        file: that they come from.

    Raises:
        UserError: when they are within 0..1; when they fit as corners x1, y1, x2, y2, and leave
            their images, or disagree with areas or polygons, as widths; when most leave their
            images.
    """
    if not len(boxes):
        return
    wanted = f"Expected boxes x, y, width, height in pixels in {file}"
    if boxes.max() <= 1:
        raise UserError(
            f"{wanted}. Received: {len(boxes)}, all within 0..1. Multiply them by the width and "
            "height of their image."
        )
    ends = boxes[:, :2] + boxes[:, 2:]
    leaving = ((boxes[:, :2] < -FAR * sizes) | (ends > (1 + FAR) * sizes)).any(axis=1)
    may_be_corners = (boxes[:, 2:] > boxes[:, :2]) & (boxes[:, 2:] <= (1 + FAR) * sizes)
    as_corners, as_widths = _by_outline(boxes, sizes, segmentations)
    if may_be_corners.all(axis=1).mean() >= NEARLY_ALL and not as_widths:
        leaving_as_corners = leaving.sum() * (leaving.mean() >= LEAVING_AS_CORNERS)
        for sign, number, fewest in (
            ("leave their image", leaving_as_corners, FEWEST_CORNERS),
            ("disagree with their area", _by_area(boxes, areas), FEWEST),
            ("disagree with their polygons", as_corners, FEWEST_CORNERS),
        ):
            if number >= fewest:
                raise UserError(
                    f"{wanted}. Received: {len(boxes)} that fit as corners x1, y1, x2, y2, while "
                    f"as widths {number} {sign}. Are they corners? Then write the widths "
                    "x2 - x1 and the heights y2 - y1; if not, clip them to their images."
                )
    if leaving.sum() >= FEWEST and leaving.mean() >= LEAVING:
        raise UserError(
            f"{wanted}. Received: {len(boxes)}, of which {leaving.sum()} leave their image by more "
            f"than {FAR:.0%} of its side. Are they of images of another size, corners or centres?"
        )


def _by_area(boxes: np.ndarray, areas: np.ndarray) -> int:
    """Counts boxes whose area is that of corners; 0 unless it holds of nearly all."""
    x, y, width, height = boxes.T
    as_corners, as_widths = (width - x) * (height - y), width * height
    telling = np.isfinite(areas) & ~np.isclose(as_corners, as_widths, rtol=FAR)
    return _nearly_all(telling, np.isclose(areas, as_corners, rtol=FAR))


def _by_outline(
    boxes: np.ndarray, sizes: np.ndarray, segmentations: Sequence[msgspec.Raw]
) -> tuple[int, int]:
    """Counts boxes whose polygons fill them as corners, and as widths; 0 unless nearly all do."""
    outlines = [_segmentation.bounds(given) for given in segmentations[:NUM_OUTLINES]]
    known = np.array([outline is not None for outline in outlines])
    ends = np.array([(outline or (0, 0, 0, 0))[2:] for outline in outlines])  # (k, 2)
    boxes, near = boxes[: len(ends)], FAR * sizes[: len(ends)]
    telling = known & (boxes[:, :2] > 2 * near).any(axis=1)
    as_corners, as_widths = (
        _nearly_all(telling, (abs(ends - given) <= near).all(axis=1))
        for given in (boxes[:, 2:], boxes[:, :2] + boxes[:, 2:])
    )
    return as_corners, as_widths


def _nearly_all(telling: np.ndarray, agreeing: np.ndarray) -> int:
    number = int((telling & agreeing).sum())
    return number if number >= NEARLY_ALL * telling.sum() else 0
