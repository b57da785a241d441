"""`--dataset=synthetic`: the small hard world drawn on the fly, with what each pixel shows."""

import numpy as np
import numpy.typing as npt

from pcd_tf import data
from pcd_tf.segmented._source import Source


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
        self._scenes = data.build("synthetic", split=split, seed=seed)
        super().__init__(
            self._scenes.name, self._scenes.num_examples, ["background", *self._scenes.class_names]
        )

    def image(self, index: int) -> npt.NDArray[np.uint8]:
        return self._scenes.example(index)["image"]  # type: ignore[attr-defined]

    def semantic_map(self, index: int) -> npt.NDArray[np.uint8]:
        return self._scenes.example(index)["semantic_map"]  # type: ignore[attr-defined]

    def image_name(self, index: int) -> str:
        return self._scenes.image_name(index)
