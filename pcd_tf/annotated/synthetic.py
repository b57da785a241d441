"""Annotated images drawn on the fly, with exact boxes and masks; no files, no download."""

import functools
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from pcd_tf.annotated._source import Objects, Source
from pcd_tf.data.synthetic import SyntheticSource

# Images by split, of the 5000 of `pcd_tf.data`: one takes 20 ms to draw, and a scoring draws all.
NUM_EXAMPLES = {"train": 1000, "val": 200, "test": 200}
NUM_KEPT = 16  # examples kept, as the image and the objects of one are asked for in turn


def build(*, split: str, seed: int = 0, **_: object) -> "AnnotatedSyntheticSource":
    """Makes the world of `seed`."""
    return AnnotatedSyntheticSource(seed, split=split)


class AnnotatedSyntheticSource(Source):
    """The images of `pcd_tf.data`'s synthetic world, with what is visible of each object.

    For trying a detector without any data: twelve classes, 2 to 6 objects an image, which partly
    hide one another.

    Args:
        seed: which world, not negative.
        split: "train", "val" or "test".
        num_examples: how many images; default: 1000 of "train", 200 of the others.

    Raises:
        UserError: when there is no such split.

    Example:
        AnnotatedSyntheticSource(split="val").masks(7)
    """

    def __init__(self, seed: int = 0, *, split: str, num_examples: int | None = None) -> None:
        world = SyntheticSource(seed, split=split)
        super().__init__(
            world.name,
            class_names=world.class_names,
            num_examples=NUM_EXAMPLES[split] if num_examples is None else num_examples,
            has_masks=True,
        )
        self._world = world
        self._example = functools.lru_cache(maxsize=NUM_KEPT)(self._draw)

    def image(self, index: int) -> np.ndarray:
        return self._example(index)[0]

    def size(self, index: int) -> tuple[int, int]:
        height, width = self._example(index)[0].shape[:2]
        return height, width

    def objects(self, index: int) -> Objects:
        return self._example(index)[1]

    def masks(self, index: int) -> tuple[dict[str, Any], ...]:
        return self._example(index)[2]

    def image_name(self, index: int) -> str:
        return self._world.image_name(index)

    def _draw(self, index: int) -> tuple[np.ndarray, Objects, tuple[dict[str, Any], ...]]:
        example = self._world.example(index)
        labels = example["labels"]
        masks = np.asfortranarray(example["instance_masks"].transpose(1, 2, 0), np.uint8)  # (H,W,n)
        encoded = coco_mask.encode(masks)
        objects = Objects(
            boxes=example["boxes"][:, [1, 0, 3, 2]],  # y0, x0, y1, x1 -> x1, y1, x2, y2
            labels=labels,
            crowd=np.zeros(len(labels), np.bool_),
        )
        rles = tuple({**mask, "counts": mask["counts"].decode("ascii")} for mask in encoded)
        return example["image"], objects, rles
