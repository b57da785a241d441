"""What every source of annotated images offers, whichever place they come from."""

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

# Most objects of an image that are learned from: as many as COCO's evaluation looks at
# (maxDets; Lin et al., "Microsoft COCO", 2014, arXiv 1405.0312; cocodataset.org/#detection-eval).
MAX_OBJECTS = 100


@dataclasses.dataclass(frozen=True)
class Objects:
    """The n objects of one image; those without area are left out already.

    Args:
        boxes: float32 (n, 4), x1, y1, x2, y2 in pixels of the image and inside it.
        labels: int64 (n,), indices into `class_names`.
        crowd: bool (n,), COCO's iscrowd: not learned from, and ignored by the evaluation.
        masks: n compressed COCO RLEs, {"size": [H, W], "counts": str}; None: the source has none.
        areas: float64 (n,), in pixels, as annotated; None: those of the masks, or of the boxes.
    """

    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    masks: tuple[dict[str, Any], ...] | None
    areas: np.ndarray | None = None

    def measured_areas(self) -> np.ndarray:
        """Gives the area of each object in pixels, float64 (n,)."""
        if self.areas is not None:
            return self.areas
        if self.masks is not None:
            return np.array([coco_mask.area(mask) for mask in self.masks], np.float64)
        return np.prod(self.boxes[:, 2:].astype(np.float64) - self.boxes[:, :2], axis=1)


class Source(abc.ABC):
    """A finite set of images with objects, numbered from 0, each within reach by its number.

    Args:
        name: what to call the source in messages.
        class_names: the classes.
        category_ids: their COCO ids, as many; default: 1, 2, ...
        num_examples: how many images there are.
        has_masks: whether every object has a mask.
    """

    def __init__(
        self,
        name: str,
        *,
        class_names: Sequence[str],
        category_ids: Sequence[int] | None = None,
        num_examples: int,
        has_masks: bool,
    ) -> None:
        self.name = name
        self.class_names = tuple(class_names)
        self.category_ids = tuple(category_ids or range(1, len(self.class_names) + 1))
        self.num_examples = num_examples
        self.has_masks = has_masks

    @property
    @abc.abstractmethod
    def counts(self) -> Mapping[str, int]:
        """Counts what there is, and what was changed, in the whole source.

        "num_objects", kept ones, crowds included; "num_clipped", boxes that reached out of their
        image; "num_dropped", objects left out because less than a pixel of them is in the image;
        "num_empty_images", without any object; "num_beyond_max", objects that are not learned from
        because their image has more than MAX_OBJECTS. A source that reads or draws its images one
        by one must visit all of them the first time.
        """

    @abc.abstractmethod
    def image(self, index: int) -> np.ndarray:
        """Reads an image: uint8 (H, W, 3). Raises ValueError when it cannot be read."""

    @abc.abstractmethod
    def size(self, index: int) -> tuple[int, int]:
        """Gives the height and width of an image, in pixels."""

    @abc.abstractmethod
    def objects(self, index: int) -> Objects:
        """Gives the objects on an image."""

    @abc.abstractmethod
    def image_name(self, index: int) -> str:
        """Names an image: for a file, its path in the source."""

    def image_id(self, index: int) -> int:
        """Gives the COCO id of an image; 1, 2, ... where the source has none of its own."""
        return index + 1

    def coco(self) -> dict[str, Any]:
        """Gives the ground truth in COCO's format, ready for JSON; annotations are numbered anew.

        See cocodataset.org/#format-data. Boxes are those of `objects`; only with masks is there a
        "segmentation".
        """
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for index in range(self.num_examples):
            image_id, (height, width) = self.image_id(index), self.size(index)
            images.append(
                {
                    "id": image_id,
                    "file_name": self.image_name(index),
                    "height": height,
                    "width": width,
                }
            )
            objects = self.objects(index)
            for place, area in enumerate(objects.measured_areas().tolist()):
                x1, y1, x2, y2 = objects.boxes[place].tolist()
                annotation: dict[str, Any] = {
                    "id": len(annotations) + 1,  # from 1: COCO's evaluation takes 0 for "no match"
                    "image_id": image_id,
                    "category_id": self.category_ids[objects.labels[place]],
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": area,
                    "iscrowd": int(objects.crowd[place]),
                }
                if objects.masks is not None:
                    annotation["segmentation"] = objects.masks[place]
                annotations.append(annotation)
        names = zip(self.category_ids, self.class_names, strict=True)
        return {
            "images": images,
            "annotations": annotations,
            "categories": [{"id": category_id, "name": name} for category_id, name in names],
        }
