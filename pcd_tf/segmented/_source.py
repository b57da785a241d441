"""What every source of images with class maps offers."""

import abc
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from pcd_tf import data, files, outside
from pcd_tf.errors import UserError

logger = logging.getLogger(__name__)

IGNORED = 255  # the class of a pixel that is neither learnt nor counted, as in PASCAL VOC
NUM_LOOKED_AT = 2000  # maps that are searched for classes at the start, some ten seconds of work
NUM_THREADS = 4  # that read maps, so that few large ones are in memory at once


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

    def pair(self, index: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """Makes an image and its classes; refuses those of two sizes."""
        image, classes = self.image(index), self.semantic_map(index)
        if image.shape[:2] != classes.shape:
            raise UserError(
                f"Expected an image and a class map of one size. Received: {image.shape[:2]} and "
                f"{classes.shape} (height, width) of {self.image_name(index)} in {self.name}."
            )
        return image, classes

    def check(self, *, to_learn: bool) -> None:  # noqa: B027 - one made on the fly has no faults
        """Looks at what can be told of the maps before any is learnt from.

        Args:
            to_learn: whether they are learnt from, and not only scored.

        Raises:
            UserError: when an image and its map are of two sizes, or one of them is damaged at its
                head; when the maps to learn from show fewer than two classes.
        """


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
        missing = [path for path in (*images, *maps) if not files.is_file(path)]
        if missing:
            raise UserError(
                f"Expected an image and a class map (PNG) of each name in {name}. Received: "
                f"{len(missing)} files that do not exist: {outside.named(missing)}. Add them, or "
                "leave both out."
            )
        super().__init__(name, len(images), class_names)
        self._images, self._maps = list(images), list(maps)

    def check(self, *, to_learn: bool) -> None:
        data.check_images(self.num_examples, self._check_size)
        # At random, as the maps at regular steps may all be of one kind.
        chosen = np.random.default_rng(0).permutation(self.num_examples)[:NUM_LOOKED_AT].tolist()
        found = data.in_threads(self._ids, chosen, "class maps", num_threads=NUM_THREADS)
        is_sure = len(found) == self.num_examples or len(self.class_names) < 2
        where = f"{len(found)} maps of {self.name}"
        _check_ids(set().union(*found), self.class_names, where, refuse=to_learn and is_sure)

    def image(self, index: int) -> npt.NDArray[np.uint8]:
        return np.asarray(data.decode(self._images[index]))

    def semantic_map(self, index: int) -> npt.NDArray[np.uint8]:
        ids = read_ids(self._maps[index])
        unknown = sorted(_occurring(ids) - {*range(len(self.class_names)), IGNORED})
        if unknown:
            raise UserError(
                f"Expected class ids 0 to {len(self.class_names) - 1}, or {IGNORED} to ignore. "
                f"Received: {outside.named(unknown)} in {self._maps[index]}."
            )
        return ids

    def image_name(self, index: int) -> str:
        return self._images[index].name

    def _check_size(self, index: int) -> None:
        map_ = self._maps[index]
        data.check_size(self._images[index], data.size_of(map_), stated_by=f"its class map {map_}")

    def _ids(self, index: int) -> set[int]:
        return _occurring(self.semantic_map(index))


def read_ids(path: Path) -> npt.NDArray[np.uint8]:
    """Reads a PNG of class ids: uint8 (H, W)."""
    with data.open_image(path, ("PNG",)) as image:
        if image.mode not in ("L", "P"):
            raise UserError(
                "Expected a PNG of class ids, 8 bits, greyscale or with a palette. Received: "
                f"{path}, of mode {image.mode}. Colours must be turned into ids first."
            )
        return np.asarray(image)


def _occurring(ids: npt.NDArray[np.uint8]) -> set[int]:
    counts = Image.fromarray(ids).histogram()  # unlike NumPy's, it copies nothing
    return {id_ for id_, count in enumerate(counts) if count}


def _check_ids(ids: set[int], class_names: Sequence[str], where: str, *, refuse: bool) -> None:
    """Refuses maps with nothing to tell apart, and warns of classes that none of them shows."""
    absent = [name for id_, name in enumerate(class_names) if id_ not in ids]
    asked = ""
    if IGNORED in ids and (absent or len(class_names) < 2):
        asked = (
            f" {IGNORED} is left out of training and scores. Is it the foreground here? Then write "
            f"its class's id in its place (in NumPy: ids[ids == {IGNORED}] = 1)."
        )
    if refuse and len(ids - {IGNORED}) < 2:
        raise UserError(
            f"Expected two classes or more in {where}. Received: the ids "
            f"{', '.join(map(str, sorted(ids)))} alone.{asked}"
        )
    if absent:
        logger.warning(
            "%s: none shows %d of the %d classes: %s.%s",
            where,
            len(absent),
            len(class_names),
            outside.named(absent),
            asked,
        )
