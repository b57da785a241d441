"""Tells boxes of another format from COCO's x, y, width, height in pixels."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from pcd_tf.annotated import _segmentation
from pcd_tf.errors import UserError

FAR = 0.05  # of the image's side; a box that is off by less was drawn carelessly
NEARLY_ALL = 0.9  # the rest may be mistakes of the annotators
# Taken for widths, x2 and y2 reach out of the image where the box's centre is in the right or the
# lower half: for three boxes in four. Boxes drawn whole, where people at the border are not, reach
# out for less than one in four.
LEAVING_AS_CORNERS = 0.25
# Where half of all boxes leave their image they are not of it, whatever they are.
LEAVING = 0.5
FEWEST_CORNERS = 2  # boxes that must speak for corners, which have other marks as well
FEWEST = 10  # boxes without another mark; of fewer, half may be bad luck
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
    if may_be_corners.all(axis=1).mean() >= NEARLY_ALL:
        signs = {
            "leave their image": leaving.sum() * (leaving.mean() >= LEAVING_AS_CORNERS),
            "disagree with their area": _by_area(boxes, areas),
            "disagree with their polygons": _by_outline(boxes, sizes, segmentations),
        }
        for sign, number in signs.items():
            if number >= FEWEST_CORNERS:
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


def _by_outline(boxes: np.ndarray, sizes: np.ndarray, segmentations: Sequence[msgspec.Raw]) -> int:
    """Counts boxes whose polygons fill them as corners; 0 unless it holds of nearly all."""
    outlines = [_segmentation.bounds(given) for given in segmentations[:NUM_OUTLINES]]
    known = np.array([outline is not None for outline in outlines])
    ends = np.array([(outline or (0, 0, 0, 0))[2:] for outline in outlines])  # (k, 2)
    boxes, near = boxes[: len(ends)], FAR * sizes[: len(ends)]
    telling = known & (boxes[:, :2] > 2 * near).any(axis=1)
    return _nearly_all(telling, (abs(ends - boxes[:, 2:]) <= near).all(axis=1))


def _nearly_all(telling: np.ndarray, as_corners: np.ndarray) -> int:
    number = int((telling & as_corners).sum())
    return number if number >= NEARLY_ALL * telling.sum() else 0
