"""`--dataset=synthetic`: a small hard world drawn on the fly; no files, no download."""

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from pcd_tf.data import _scene
from pcd_tf.data._annotated import Annotated, Annotation
from pcd_tf.data._segmented import Segmented
from pcd_tf.data._source import Source
from pcd_tf.errors import UserError

NUM_EXAMPLES = 5000
IMAGE_SIZE = 160  # pixels a side
# Of those with labels: one takes 20 ms to draw, and a scoring draws all.
NUM_LABELLED = {"train": 1000, "val": 200, "test": 200}
NUM_KEPT = 16  # examples kept, as the image and the labels of one are asked for in turn
SPLITS = ("train", "val", "test")  # three sets of images of the same world


def build(*, seed: int = 0, split: str = "train", **_: object) -> "SyntheticSource":
    """Makes the world of `seed`."""
    return SyntheticSource(seed, split=split)


def build_annotated(*, split: str, seed: int = 0, **_: object) -> Annotated:
    """Makes the world of `seed` with what is visible of each object: its box and its mask.

    For trying a detector without any data: twelve classes, 2 to 6 objects an image, which partly
    hide one another.
    """
    world = SyntheticSource(seed, split=split, num_examples=NUM_LABELLED.get(split, 0))
    return Annotated(world, _Annotations(world), class_names=world.class_names)


def build_segmented(*, seed: int = 0, split: str = "train", **_: object) -> Segmented:
    """Makes a split of the world of `seed` with its class maps; 0 is the background."""
    images = SyntheticSource(seed, split=split, num_examples=NUM_LABELLED.get(split, 0))
    return Segmented(images, _ClassMaps(images), ["background", *images.class_names])


class SyntheticSource(Source):
    """Textured objects on textured backgrounds: twelve classes, four shapes in three textures.

    Neither colour nor texture alone tells a class: colours, lighting and noise are random, and
    backgrounds wear the same textures. Objects differ in scale, rotation and proportions and partly
    hide one another. An image is a function of (seed, split, index).

    Args:
        seed: which world, not negative.
        split: "train", "val" or "test".
        num_examples: how many images.
        image_size: their height and width, in pixels.

    Raises:
        UserError: when there is no such split.

    Example:
        example = SyntheticSource(seed=0).example(7)
        example["semantic_map"]  # uint8 (160, 160)
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        split: str = "train",
        num_examples: int = NUM_EXAMPLES,
        image_size: int = IMAGE_SIZE,
    ) -> None:
        if split not in SPLITS:
            raise UserError(
                f"Expected a split of the synthetic images: {', '.join(SPLITS)}. "
                f"Received: {split!r}."
            )
        names = itertools.product(_scene.TEXTURES, _scene.SHAPES)
        super().__init__(
            f"synthetic {split}",
            num_examples,
            [f"{texture} {shape}" for texture, shape in names],
        )
        self._seed = seed
        self._split = SPLITS.index(split)
        self._image_size = image_size
        self.recent = functools.lru_cache(maxsize=NUM_KEPT)(self.example)

    def example(self, index: int) -> dict[str, np.ndarray]:
        """Draws an image and tells what is on it.

        Returns:
            a dict, for n objects in H x W pixels: "image", uint8 (H, W, 3); "boxes", float32
            (n, 4), y0, x0, y1, x1 in pixels around what is visible; "labels", int64 (n,), indices
            into `class_names`; "instance_masks", bool (n, H, W), what is visible; "semantic_map",
            uint8 (H, W), 0 for the background and label + 1 for an object.

        Raises:
            IndexError: when there is no such image.
        """
        if not 0 <= index < self.num_examples:
            raise IndexError(
                f"Expected an index from 0 to {self.num_examples - 1}. Received: {index}."
            )
        rng = np.random.default_rng([self._seed, self._split, index])
        image, labels, masks = _scene.draw(rng, self._image_size)
        semantic_map = np.zeros(image.shape[:2], np.uint8)
        for label, mask in zip(labels, masks, strict=True):
            semantic_map[mask] = label + 1
        return {
            "image": image,
            "boxes": _boxes(masks),
            "labels": labels,
            "instance_masks": masks,
            "semantic_map": semantic_map,
        }

    def image_name(self, index: int) -> str:
        return f"{SPLITS[self._split]}/{index}"

    def open(self, index: int, payload: Any, *, min_pixels: int | None = None) -> Image.Image:
        del payload, min_pixels
        return Image.fromarray(self.recent(index)["image"])


class _ClassMaps(Source):
    """What the pixels of synthetic images show."""

    def __init__(self, images: SyntheticSource) -> None:
        super().__init__(images.name, images.num_examples)
        self._images = images

    def image_name(self, index: int) -> str:
        return self._images.image_name(index)

    def open(self, index: int, payload: Any, *, min_pixels: int | None = None) -> Image.Image:
        del payload, min_pixels
        return Image.fromarray(self._images.recent(index)["semantic_map"])


class _Annotations(Sequence[Annotation]):
    """What is on each image, drawn when it is asked for first."""

    def __init__(self, world: SyntheticSource) -> None:
        self._world = world
        self._drawn = functools.cache(self._draw)

    def __len__(self) -> int:
        return self._world.num_examples

    def __getitem__(self, index: Any) -> Any:
        return self._drawn(index)

    def _draw(self, index: int) -> Annotation:
        example = self._world.recent(index)
        labels, masks = example["labels"], example["instance_masks"]
        encoded = coco_mask.encode(np.asfortranarray(masks.transpose(1, 2, 0), np.uint8))  # (H,W,n)
        return Annotation(
            index + 1,
            masks.shape[1],
            masks.shape[2],
            example["boxes"][:, [1, 0, 3, 2]].astype(np.float64),  # from y0, x0, y1, x1
            labels,
            np.zeros(len(labels), np.bool_),
            segmentations=[
                msgspec.Raw(msgspec.json.encode({**mask, "counts": mask["counts"].decode("ascii")}))
                for mask in encoded
            ],
        )


def _boxes(masks: np.ndarray) -> np.ndarray:
    """Finds the tight box of each mask: bool (n, H, W) -> float32 (n, 4)."""
    boxes = np.zeros((len(masks), 4), np.float32)
    for box, mask in zip(boxes, masks, strict=True):
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        box[:] = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
    return boxes
