"""A source whose annotations are all in memory and whose images are files."""

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from pcd_tf import data
from pcd_tf.annotated._segmentation import rle
from pcd_tf.annotated._source import Objects, Source

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
        segmentations: n of COCO's, in JSON; None: not annotated.
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
    segmentations: Sequence[msgspec.Raw] | None = None


class ListedSource(Source):
    """Image files and their annotations.

    Args:
        name: what to call the source in messages.
        images: the images.
        class_names: the classes.
        category_ids: their COCO ids; default: 1, 2, ...
    """

    def __init__(
        self,
        name: str,
        images: Sequence[Listed],
        *,
        class_names: Sequence[str],
        category_ids: Sequence[int] | None = None,
    ) -> None:
        super().__init__(
            name,
            class_names=class_names,
            category_ids=category_ids,
            num_examples=len(images),
            has_masks=False,
        )
        self._images = images
        num_dropped, num_clipped = self.counts["num_dropped"], self.counts["num_clipped"]
        if num_dropped or num_clipped:
            logger.warning(
                "%s: of %d objects, %d with less than a pixel inside their image are not trained "
                "on, and %d are clipped to it for training. Scored is what the annotations say.",
                name,
                self.counts["num_objects"] + num_dropped,
                num_dropped,
                num_clipped,
            )

    def check(self) -> None:
        data.check_images(self.num_examples, self._check_size)

    def image(self, index: int) -> np.ndarray:
        pixels = np.asarray(data.decode(self._images[index].path))
        if pixels.shape[:2] != self.size(index):
            self._check_size(index)
        return pixels

    def size(self, index: int) -> tuple[int, int]:
        return self._images[index].height, self._images[index].width

    def objects(self, index: int) -> Objects:
        listed = self._images[index]
        return Objects(
            boxes=listed.boxes,
            labels=listed.labels,
            crowd=listed.crowd,
            areas=listed.areas,
        )

    def masks(self, index: int) -> Sequence[dict[str, Any]] | None:
        return _Masks(self._images[index]) if self.has_masks else None

    def image_name(self, index: int) -> str:
        return self._images[index].name

    def image_id(self, index: int) -> int:
        return self._images[index].image_id

    def _check_size(self, index: int) -> None:
        data.check_size(self._images[index].path, self.size(index), stated_by="its annotation")


class _Masks(Sequence[dict[str, Any]]):
    """The masks of an image, each compressed when it is asked for: boxes alone need none."""

    def __init__(self, listed: Listed) -> None:
        self._segmentations = listed.segmentations or ()
        self._size = listed.height, listed.width

    def __len__(self) -> int:
        return len(self._segmentations)

    def __getitem__(self, place: Any) -> Any:
        return rle(self._segmentations[place], *self._size)
