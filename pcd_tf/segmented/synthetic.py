"""`--dataset=synthetic`: the small hard world drawn on the fly, with what each pixel shows."""

import functools

import numpy as np
import numpy.typing as npt

from pcd_tf.data.synthetic import SyntheticSource
from pcd_tf.segmented._source import Source

# Images by split, of the 5000 of `pcd_tf.data`: one takes 20 ms to draw, and a scoring draws all.
NUM_EXAMPLES = {"train": 1000, "val": 200, "test": 200}


def build(*, split: str, seed: int = 0, **_: object) -> "SyntheticMaps":
    """Makes a split of the world of `seed`."""
    return SyntheticMaps(seed, split)


class SyntheticMaps(Source):
    """The images of `pcd_tf.data`'s synthetic source and their class maps; 0 is the background.

    Args:
        seed: which world.
        split: "train", "val" or "test".
    """

    def __init__(self, seed: int, split: str) -> None:
        scenes = SyntheticSource(seed, split=split)
        number = min(NUM_EXAMPLES[split], scenes.num_examples)
        super().__init__(scenes.name, number, ["background", *scenes.class_names])
        self._scenes = scenes
        # Image and map of one are asked for in turn.
        self._example = functools.lru_cache(maxsize=16)(scenes.example)

    def image(self, index: int) -> npt.NDArray[np.uint8]:
        return self._example(index)["image"]

    def semantic_map(self, index: int) -> npt.NDArray[np.uint8]:
        return self._example(index)["semantic_map"]

    def image_name(self, index: int) -> str:
        return self._scenes.image_name(index)
