"""What every source of annotated images offers, whichever place they come from."""

import abc
import collections
import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

# Most objects of an image that are learned from: as many as COCO's evaluation looks at
# (maxDets; Lin et al., "Microsoft COCO", 2014, arXiv 1405.0312; cocodataset.org/#detection-eval).
MAX_OBJECTS = 100
MIN_SIDE = 1.0  # pixels; a thinner box has nothing to learn from
TOLERANCE = 1e-3  # pixels; a rounding error is no clipping


@dataclasses.dataclass(frozen=True)
class Objects:
    """The n objects of one image, as they were annotated.

    Args:
        boxes: float (n, 4), x1, y1, x2, y2 in pixels of the image; may reach out of it, or be thin.
        labels: int64 (n,), indices into `class_names`.
        crowd: bool (n,), COCO's iscrowd: not learned from, and ignored by the evaluation.
        areas: float64 (n,), in pixels, as annotated; None: those of the masks, or of the boxes.
    """

    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    areas: np.ndarray | None = None

    def inside(self, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Makes of the boxes what can be learned from; they are scored as annotated.

        Args:
            height: of the image, in pixels.
            width: of the image, in pixels.

        Returns:
            the boxes clipped to the image, float64 (n, 4); bool (n,), which of them are a pixel or
            more high and wide.
        """
        boxes = np.clip(self.boxes.astype(np.float64), 0, np.array([width, height] * 2))
        sides = boxes[:, 2:] - boxes[:, :2]
        return boxes, np.all(sides >= MIN_SIDE - TOLERANCE, axis=1)


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
        self._has_masks = has_masks

    @functools.cached_property
    def mask_fault(self) -> str | None:
        """Why not every object has a mask; None: each has one. Looked for when it is asked for."""
        return None if self._has_masks else "boxes alone"

    @property
    def has_masks(self) -> bool:
        """Whether every object has a mask."""
        return self.mask_fault is None

    @functools.cached_property
    def counts(self) -> Mapping[str, int]:
        """Counts what there is to learn from in the whole source, visiting all images once.

        "num_objects", crowds included; "num_clipped", boxes that reach out of their image;
        "num_dropped", further objects, of which less than a pixel is in the image;
        "num_empty_images", without any object; "num_beyond_max", objects that are not learned from
        because their image has more than MAX_OBJECTS.
        """
        total = collections.Counter(
            num_objects=0, num_clipped=0, num_dropped=0, num_empty_images=0, num_beyond_max=0
        )
        for index in range(self.num_examples):
            objects = self.objects(index)
            boxes, kept = objects.inside(*self.size(index))
            clipped = (abs(boxes - objects.boxes) > TOLERANCE).any(axis=1)
            total["num_objects"] += int(kept.sum())
            total["num_clipped"] += int((clipped & kept).sum())
            total["num_dropped"] += int((~kept).sum())
            total["num_empty_images"] += not kept.any()
            total["num_beyond_max"] += max(0, int((kept & ~objects.crowd).sum()) - MAX_OBJECTS)
        return dict(total)

    def check(self) -> None:  # noqa: B027 - one that states no sizes has nothing to look at
        """Looks at what can be told of all images without decoding one.

        Raises:
            UserError: when one is no image, or of another size than its annotation says.
        """

    @abc.abstractmethod
    def image(self, index: int) -> np.ndarray:
        """Reads an image: uint8 (H, W, 3). Raises UserError when it cannot be read."""

    @abc.abstractmethod
    def size(self, index: int) -> tuple[int, int]:
        """Gives the height and width of an image, in pixels."""

    @abc.abstractmethod
    def objects(self, index: int) -> Objects:
        """Gives the objects on an image."""

    def masks(self, index: int) -> Sequence[dict[str, Any]] | None:
        """Gives the masks of the objects on an image; None: the source has none.

        They are compressed COCO RLEs, {"size": [H, W], "counts": str}.
        """
        del index
        return None

    def areas(self, index: int) -> np.ndarray:
        """Gives the area of each object on an image in pixels, float64 (n,)."""
        objects = self.objects(index)
        if objects.areas is not None:
            return objects.areas
        masks = self.masks(index)
        if masks is not None:
            return np.array([coco_mask.area(mask) for mask in masks], np.float64)
        return np.prod(objects.boxes[:, 2:].astype(np.float64) - objects.boxes[:, :2], axis=1)

    @abc.abstractmethod
    def image_name(self, index: int) -> str:
        """Names an image: for a file, its path in the source."""

    def image_id(self, index: int) -> int:
        """Gives the COCO id of an image; 1, 2, ... where the source has none of its own."""
        return index + 1

    def coco(self, *, masks: bool = True) -> dict[str, Any]:
        """Gives the ground truth in COCO's format, ready for JSON; annotations are numbered anew.

        See cocodataset.org/#format-data. All objects are in it, as they were annotated, so that
        scores are those of the annotation file.

        Args:
            masks: whether to give a "segmentation" of each, where the source has masks.
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
            objects, its_masks = self.objects(index), self.masks(index) if masks else None
            for place, area in enumerate(self.areas(index).tolist()):
                x1, y1, x2, y2 = objects.boxes[place].tolist()
                annotation: dict[str, Any] = {
                    "id": len(annotations) + 1,  # from 1: COCO's evaluation takes 0 for "no match"
                    "image_id": image_id,
                    "category_id": self.category_ids[objects.labels[place]],
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": area,
                    "iscrowd": int(objects.crowd[place]),
                }
                if its_masks is not None:
                    annotation["segmentation"] = its_masks[place]
                annotations.append(annotation)
        names = zip(self.category_ids, self.class_names, strict=True)
        return {
            "images": images,
            "annotations": annotations,
            "categories": [{"id": category_id, "name": name} for category_id, name in names],
        }
