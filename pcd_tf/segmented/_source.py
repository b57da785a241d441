"""What every source of images with class maps offers."""

import abc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from pcd_tf.data import decode
from pcd_tf.errors import UserError

IGNORED = 255  # the class of a pixel that is neither learnt nor counted, as in PASCAL VOC


class Source(abc.ABC):
    """A finite set of images, numbered from 0, each with a class at every pixel.

    Args:
        name: what to call it in messages.
        num_examples: how many images.
        class_names: of the ids 0, 1, ...
    """

    def __init__(self, name: str, num_examples: int, class_names: Sequence[str]) -> None:
        self.name = name
        self.num_examples = num_examples
        self.class_names = tuple(class_names)

    @abc.abstractmethod
    def image(self, index: int) -> npt.NDArray[np.uint8]:
        """Makes an image: uint8 (H, W, 3), upright RGB. Raises UserError naming what is wrong."""

    @abc.abstractmethod
    def semantic_map(self, index: int) -> npt.NDArray[np.uint8]:
        """Makes its classes: uint8 (H, W), ids of `class_names`, or IGNORED."""

    @abc.abstractmethod
    def image_name(self, index: int) -> str:
        """Names an image, for messages and results."""


class PngSource(Source):
    """Images and PNG files of their class ids, of the same size, one for each.

    Args:
        name: what to call it in messages.
        images: files.
        maps: files, in the same order: greyscale or palette PNG, a pixel's value its class.
        class_names: of the ids 0, 1, ...

    Raises:
        UserError: when there is no image, or a file is missing.
    """

    def __init__(
        self, name: str, images: Sequence[Path], maps: Sequence[Path], class_names: Sequence[str]
    ) -> None:
        if not images:
            raise UserError(f"Expected images with class maps in {name}. Received: none.")
        missing = [path for path in (*images, *maps) if not path.is_file()]
        if missing:
            shown = ", ".join(str(path) for path in missing[:3])
            raise UserError(
                f"Expected an image and a class map (PNG) of each name in {name}. Received: "
                f"{len(missing)} files that do not exist: {shown}. Add them, or leave both out."
            )
        super().__init__(name, len(images), class_names)
        self._images, self._maps = list(images), list(maps)

    def image(self, index: int) -> npt.NDArray[np.uint8]:
        return np.asarray(decode(self._images[index]))

    def semantic_map(self, index: int) -> npt.NDArray[np.uint8]:
        ids = read_ids(self._maps[index])
        unknown = sorted(
            {int(x) for x in np.unique(ids)} - {*range(len(self.class_names)), IGNORED}
        )
        if unknown:
            raise UserError(
                f"Expected class ids 0 to {len(self.class_names) - 1}, or {IGNORED} to ignore. "
                f"Received: {unknown[:5]} in {self._maps[index]}."
            )
        return ids

    def image_name(self, index: int) -> str:
        return self._images[index].name


def read_ids(path: Path) -> npt.NDArray[np.uint8]:
    """Reads a PNG of class ids: uint8 (H, W)."""
    try:
        with Image.open(path, formats=["PNG"]) as image:
            mode, ids = image.mode, np.asarray(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"Expected a PNG of class ids. Received: {path} ({error}).") from error
    if mode not in ("L", "P"):
        raise UserError(
            "Expected a PNG of class ids, 8 bits, greyscale or with a palette. "
            f"Received: {path}, of mode {mode}. Colours must be turned into ids first."
        )
    return ids
