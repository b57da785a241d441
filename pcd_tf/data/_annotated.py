"""Images with objects on them: boxes, masks and classes, beside the source of the pixels."""

import dataclasses
import functools
import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
from pycocotools import mask as coco_mask

from pcd_tf.data import _headers, _segmentation
from pcd_tf.data._files import FileSource
from pcd_tf.data._source import Source

logger = logging.getLogger(__name__)

# Most objects of an image that are learned from: as many as COCO's evaluation looks at
# (maxDets; Lin et al., "Microsoft COCO", 2014, arXiv 1405.0312; cocodataset.org/#detection-eval).
MAX_OBJECTS = 100
MIN_SIDE = 1.0  # pixels; a thinner box has nothing to learn from
TOLERANCE = 1e-3  # pixels; a rounding error is no clipping


@dataclasses.dataclass(frozen=True)
class Annotation:
    """The n objects on one image, as they were annotated.

    Args:
        image_id: its COCO id.
        height: of the upright image, in pixels.
        width: likewise.
        boxes: float64 (n, 4), x1, y1, x2, y2 in pixels; may reach out of the image, or be thin.
        labels: int64 (n,), indices into the classes.
        crowd: bool (n,), COCO's iscrowd: not learned from, and ignored by the evaluation.
        areas: float64 (n,), in pixels; None: those of the masks, or of the boxes.
        segmentations: n of COCO's, in JSON; None: not annotated.
    """

    image_id: int
    height: int
    width: int
    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    areas: np.ndarray | None = None
    segmentations: Sequence[msgspec.Raw] | None = None

    def inside(self) -> tuple[np.ndarray, np.ndarray]:
        """Clips the boxes to the image, to learn from; they are scored as annotated.

        Returns:
            float64 (n, 4); bool (n,), which of them are a pixel or more high and wide.
        """
        return _inside(self.boxes, np.array([self.width, self.height] * 2))


class Learned(NamedTuple):
    """What is learned from, of all images one after another: no crowd, and nothing too small.

    Args:
        boxes: float32 (n, 4), x1, y1, x2, y2 in pixels, clipped to their image; the largest of an
            image first.
        labels: int32 (n,).
        ends: int64 (images + 1,): those of image i are ends[i] to ends[i + 1].
    """

    boxes: np.ndarray
    labels: np.ndarray
    ends: np.ndarray


class Annotated:
    """A source of images and what is annotated on each.

    Args:
        images: gives the pixels.
        annotations: of each image, in its order; a sequence may draw them when they are asked for.
        class_names: the classes.
        category_ids: their COCO ids, as many; default: 1, 2, ...
        name: what to call it in messages; default: as the source of the images.

    Example:
        source = pcd_tf.data.build_annotated("voc", data_dir="VOC2012", split="val")
        source.objects(0).boxes  # float64 (n, 4)
    """

    def __init__(
        self,
        images: Source,
        annotations: Sequence[Annotation],
        *,
        class_names: Sequence[str],
        category_ids: Sequence[int] | None = None,
        name: str | None = None,
    ) -> None:
        self.images = images
        self.name = name or images.name
        self.num_examples = images.num_examples
        self.class_names = tuple(class_names)
        self.category_ids = tuple(category_ids or range(1, len(self.class_names) + 1))
        self._annotations = annotations

    def objects(self, index: int) -> Annotation:
        """Gives what is annotated on an image."""
        return self._annotations[index]

    def size(self, index: int) -> tuple[int, int]:
        """Gives the height and width of an image, in pixels."""
        annotation = self._annotations[index]
        return annotation.height, annotation.width

    def image_name(self, index: int) -> str:
        """Names an image: for a file, its path in the source."""
        return self.images.image_name(index)

    def check(self) -> None:
        """Looks at what can be told of all images without decoding one.

        Raises:
            UserError: when one is no image, or of another size than its annotation says.
        """
        if isinstance(self.images, FileSource):  # the sizes of others are the images' own
            _headers.check_images(self.num_examples, self.check_size)

    def check_size(self, index: int) -> None:
        """Refuses an image file of another size than its annotation says."""
        if isinstance(self.images, FileSource):
            path = self.images.path(index)
            _headers.check_size(path, self.size(index), stated_by="its annotation")

    @functools.cached_property
    def mask_fault(self) -> str | None:
        """Why not every object has a mask; None: each has one. Looked for when it is asked for."""
        number = 0
        for index, annotation in enumerate(self._annotations):
            if annotation.segmentations is None:
                return "boxes alone"
            for place, segmentation in enumerate(annotation.segmentations):
                fault = _segmentation.fault(segmentation, annotation.height, annotation.width)
                if fault:
                    return f"object {place} of {self.image_name(index)}: segmentation{fault}"
                number += 1
        return None if number else "no annotations"

    @property
    def has_masks(self) -> bool:
        """Whether every object has a mask."""
        return self.mask_fault is None

    def masks(self, index: int) -> list[dict[str, Any]] | None:
        """Gives the masks of the objects on an image; None: the source has none.

        They are compressed COCO RLEs, {"size": [H, W], "counts": str}.
        """
        if not self.has_masks:
            return None
        size, given = self.size(index), self._annotations[index].segmentations
        return [_segmentation.rle(segmentation, *size) for segmentation in given or ()]

    def areas(self, index: int) -> np.ndarray:
        """Gives the area of each object on an image in pixels, float64 (n,)."""
        annotation = self._annotations[index]
        if annotation.areas is not None:
            return annotation.areas
        masks = self.masks(index)
        if masks is not None:
            return np.array([coco_mask.area(mask) for mask in masks], np.float64)
        return _areas(annotation.boxes)

    @functools.cached_property
    def sizes(self) -> np.ndarray:
        """The height and width of all images, int32 (images, 2)."""
        return np.array([(one.height, one.width) for one in self._annotations], np.int32)

    @functools.cached_property
    def counts(self) -> Mapping[str, int]:
        """Counts what there is to learn from in the whole source.

        "num_objects", crowds included; "num_clipped" of them reach out of their image;
        "num_dropped", further ones, of which less than a pixel is in the image;
        "num_empty_images", without any object; "num_beyond_max", objects that are not learned from,
        as their image has more than MAX_OBJECTS.
        """
        given, boxes, kept, _, crowd, image = self._together()
        clipped = kept & (abs(boxes - given) > TOLERANCE).any(axis=1)
        num_kept, num_learned = (
            np.bincount(image[chosen], minlength=self.num_examples)
            for chosen in (kept, kept & ~crowd)
        )
        counts = {
            "num_objects": kept.sum(),
            "num_clipped": clipped.sum(),
            "num_dropped": (~kept).sum(),
            "num_empty_images": (num_kept == 0).sum(),
            "num_beyond_max": np.maximum(num_learned - MAX_OBJECTS, 0).sum(),
        }
        if counts["num_dropped"] or counts["num_clipped"]:
            logger.warning(
                "%s: of %d objects, %d with less than a pixel inside their image are not trained "
                "on, and %d are clipped to it for training. Scored is what the annotations say.",
                self.name,
                len(given),
                counts["num_dropped"],
                counts["num_clipped"],
            )
        return {name: int(count) for name, count in counts.items()}

    @functools.cached_property
    def learned(self) -> Learned:
        """What is learned from; of an image with more than MAX_OBJECTS the largest."""
        _, boxes, kept, labels, crowd, image = self._together()
        order = np.lexsort((-_areas(boxes), image))  # by image; of equals, the first stays first
        order = order[(kept & ~crowd)[order]]
        rank = np.arange(len(order)) - np.searchsorted(image[order], image[order])
        order = order[rank < MAX_OBJECTS]
        return Learned(
            boxes[order].astype(np.float32),
            labels[order].astype(np.int32),
            np.searchsorted(image[order], np.arange(self.num_examples + 1)),
        )

    def _together(self) -> tuple[np.ndarray, ...]:
        """All n objects, one image after another.

        Returns:
            boxes and clipped boxes, float64 (n, 4); which of these are a pixel or more high and
            wide, bool (n,); labels, int64 (n,); crowds, bool (n,); images, int64 (n,).
        """
        numbers = [len(one.labels) for one in self._annotations]
        image = np.repeat(np.arange(len(numbers)), numbers)
        boxes, labels, crowd = (
            np.concatenate([none, *(getattr(one, field) for one in self._annotations)])
            for field, none in (
                ("boxes", np.zeros((0, 4))),
                ("labels", np.zeros(0, np.int64)),
                ("crowd", np.zeros(0, np.bool_)),
            )
        )
        return boxes, *_inside(boxes, self.sizes[image][:, [1, 0, 1, 0]]), labels, crowd, image

    def coco(self, *, masks: bool = True) -> dict[str, Any]:
        """Gives the ground truth in COCO's format, ready for JSON; annotations are numbered anew.

        See cocodataset.org/#format-data. All objects are in it, as they were annotated, so that
        scores are those of the annotation file.

        Args:
            masks: whether to give a "segmentation" of each, where the source has masks.
        """
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for index, one in enumerate(self._annotations):
            images.append(
                {
                    "id": one.image_id,
                    "file_name": self.image_name(index),
                    "height": one.height,
                    "width": one.width,
                }
            )
            its_masks = self.masks(index) if masks else None
            for place, area in enumerate(self.areas(index).tolist()):
                x1, y1, x2, y2 = one.boxes[place].tolist()
                annotation: dict[str, Any] = {
                    "id": len(annotations) + 1,  # from 1: COCO's evaluation takes 0 for "no match"
                    "image_id": one.image_id,
                    "category_id": self.category_ids[one.labels[place]],
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": area,
                    "iscrowd": int(one.crowd[place]),
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


def _areas(boxes: np.ndarray) -> np.ndarray:
    return np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)


def _inside(boxes: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Clips boxes (n, 4) to images of width, height, width, height, and tells which are seen."""
    boxes = np.clip(boxes, 0, ends)
    return boxes, np.all(boxes[:, 2:] - boxes[:, :2] >= MIN_SIDE - TOLERANCE, axis=1)
