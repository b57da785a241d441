"""A source whose annotations are all in memory and whose images are files."""

import dataclasses
import functools
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pcd_tf import data
from pcd_tf.annotated import _boxes
from pcd_tf.annotated._segmentation import rle
from pcd_tf.annotated._source import Objects, Source
from pcd_tf.errors import UserError

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Listed:
    """An image and its n annotations, as they were written.

    Args:
        image_id: its COCO id.
        name: its path in the source.
        path: its file.
        height: in pixels, as annotated.
        width: in pixels, as annotated.
        boxes: float64 (n, 4), x1, y1, x2, y2 in pixels; may reach out of the image.
        labels: int64 (n,).
        crowd: bool (n,).
        areas: float64 (n,); None: not annotated.
        segmentations: n of COCO's; None: not annotated.
    """

    image_id: int
    name: str
    path: Path
    height: int
    width: int
    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    areas: np.ndarray | None = None
    segmentations: Sequence[Any] | None = None


class ListedSource(Source):
    """Image files and their annotations.

    Args:
        name: what to call the source in messages.
        images: the images.
        class_names: the classes.
        category_ids: their COCO ids; default: 1, 2, ...
        has_masks: whether every object has a segmentation.
    """

    def __init__(
        self,
        name: str,
        images: Sequence[Listed],
        *,
        class_names: Sequence[str],
        category_ids: Sequence[int] | None = None,
        has_masks: bool = False,
    ) -> None:
        super().__init__(
            name,
            class_names=class_names,
            category_ids=category_ids,
            num_examples=len(images),
            has_masks=has_masks,
        )
        self._images = images
        num_dropped, num_clipped = self.counts["num_dropped"], self.counts["num_clipped"]
        if num_dropped or num_clipped:
            logger.warning(
                "%s: of %d objects, %d with less than a pixel inside their image are left out, and "
                "%d are clipped to it.",
                name,
                self.counts["num_objects"] + num_dropped,
                num_dropped,
                num_clipped,
            )

    @functools.cached_property
    def counts(self) -> Mapping[str, int]:
        return _boxes.counts(self._count(image) for image in self._images)

    def image(self, index: int) -> np.ndarray:
        listed = self._images[index]
        pixels = np.asarray(data.decode(listed.path))
        if pixels.shape[:2] != (listed.height, listed.width):
            raise UserError(
                f"Expected {listed.path} to be {listed.width} x {listed.height} pixels, as its "
                f"annotation says. Received: {pixels.shape[1]} x {pixels.shape[0]}. Boxes would "
                "not fit: correct the annotation, or the image (its EXIF rotation, if it has one)."
            )
        return pixels

    def size(self, index: int) -> tuple[int, int]:
        return self._images[index].height, self._images[index].width

    def objects(self, index: int) -> Objects:
        listed = self._images[index]
        boxes, kept, _ = _boxes.inside(listed.boxes, listed.height, listed.width)
        masks = None
        if self.has_masks and listed.segmentations is not None:
            masks = tuple(
                rle(listed.segmentations[place], listed.height, listed.width)
                for place in np.flatnonzero(kept)
            )
        return Objects(
            boxes=boxes[kept],
            labels=listed.labels[kept],
            crowd=listed.crowd[kept],
            masks=masks,
            areas=None if listed.areas is None else listed.areas[kept],
        )

    def image_name(self, index: int) -> str:
        return self._images[index].name

    def image_id(self, index: int) -> int:
        return self._images[index].image_id

    def _count(self, listed: Listed) -> tuple[int, int, int, int]:
        _, kept, num_clipped = _boxes.inside(listed.boxes, listed.height, listed.width)
        num_kept = int(kept.sum())
        return num_kept, num_clipped, len(kept) - num_kept, int((kept & ~listed.crowd).sum())
