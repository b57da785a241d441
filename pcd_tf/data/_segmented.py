"""Images with a class at every pixel."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from PIL import Image

from pcd_tf import files, outside
from pcd_tf.data import IGNORED, _native
from pcd_tf.data._decode import open_image
from pcd_tf.data._files import FileSource
from pcd_tf.data._headers import check_images, check_size, in_threads, size_of
from pcd_tf.data._order import Record
from pcd_tf.data._pixels import made
from pcd_tf.data._source import Source
from pcd_tf.errors import UserError

logger = logging.getLogger(__name__)

NUM_LOOKED_AT = 2000  # maps that are searched for classes at the start, some ten seconds of work
NUM_THREADS = 4  # that read maps, so that few large ones are in memory at once


class Segmented:
    """A finite set of images, numbered from 0, each with a class at every pixel.

    Args:
        images: the images.
        maps: their class maps, in the same order: its `open` gives images of mode L, of ids; a
            record of `images` may hold the payload of the map as "map".
        class_names: of the ids 0, 1, ..., 255 at most.
        name: what to call it in messages; default: that of the images.

    Raises:
        UserError: when there is no image, or a file is missing.

    Example:
        source = Segmented(images, MapFiles("maps", root, ["1.png", "2.png"]), ["rest", "cat"])
        source.semantic_map(0)  # uint8 (H, W), 255 where no class is known
    """

    def __init__(
        self, images: Source, maps: Source, class_names: Sequence[str], *, name: str | None = None
    ) -> None:
        self.name = images.name if name is None else name
        self.images, self.maps = images, maps
        self.num_examples = images.num_examples
        self.class_names = tuple(class_names)
        if not self.num_examples:
            raise UserError(f"Expected images with class maps in {self.name}. Received: none.")
        of_files = [source for source in (images, maps) if isinstance(source, FileSource)]
        paths = (source.path(i) for source in of_files for i in range(source.num_examples))
        missing = [path for path in paths if not files.is_file(path)]
        if missing:
            raise UserError(
                f"Expected an image and a class map (PNG) of each name in {self.name}. Received: "
                f"{len(missing)} files that do not exist: {outside.named(missing)}. Add them, or "
                "leave both out."
            )

    def image(self, index: int) -> npt.NDArray[np.uint8]:
        """Makes an image: uint8 (H, W, 3), upright RGB."""
        return np.asarray(self.images.open(index, None))

    def image_name(self, index: int) -> str:
        """Names an image, for messages and results."""
        return self.images.image_name(index)

    def semantic_map(self, index: int, payload: Any = None) -> npt.NDArray[np.uint8]:
        """Makes the classes of an image: uint8 (H, W), ids of `class_names`, or IGNORED.

        Raises:
            UserError: when the map is damaged, or holds another id; names it.
        """
        return np.asarray(self._checked_map(index, payload))

    def semantic_map_of(self, record: Record) -> tf.Tensor:
        """Makes the same in a graph, of a record of `images`."""
        record = {key: value for key, value in record.items() if key != "payload"}
        if "map" in record:
            record["payload"] = record.pop("map")

        def natively(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            is_decoded, ids = _native.decode_ids(encoded)
            is_known = tf.reduce_all((ids < len(self.class_names)) | (ids == IGNORED))
            return is_decoded & is_known, ids

        def read(index: int, payload: Any) -> tuple[int, Image.Image]:
            return index, self._checked_map(index, payload)

        return made(self.maps, record, natively, read, (None, None))[0]

    def check(self, *, to_learn: bool) -> None:
        """Looks at what can be told of the maps before any is learnt from.

        Args:
            to_learn: whether they are learnt from, and not only scored.

        Raises:
            UserError: when an image and its map are of two sizes, or one of them is damaged at its
                head; when the maps to learn from show fewer than two classes.
        """
        images, maps = self.images, self.maps
        if not (isinstance(images, FileSource) and isinstance(maps, FileSource)):
            return  # drawn, or seen before

        def check_one(index: int) -> None:
            map_ = maps.path(index)
            check_size(images.path(index), size_of(map_), stated_by=f"its class map {map_}")

        check_images(self.num_examples, check_one)
        # At random, as the maps at regular steps may all be of one kind.
        chosen = np.random.default_rng(0).permutation(self.num_examples)[:NUM_LOOKED_AT].tolist()
        found = in_threads(
            lambda index: _occurring(self._checked_map(index)),
            chosen,
            "class maps",
            num_threads=NUM_THREADS,
        )
        is_sure = len(found) == self.num_examples or len(self.class_names) < 2
        where = f"{len(found)} maps of {self.name}"
        _check_ids(set().union(*found), self.class_names, where, refuse=to_learn and is_sure)

    def _checked_map(self, index: int, payload: Any = None) -> Image.Image:
        ids = self.maps.open(index, payload)
        unknown = sorted(_occurring(ids) - {*range(len(self.class_names)), IGNORED})
        if unknown:
            raise UserError(
                f"Expected class ids 0 to {len(self.class_names) - 1}, or {IGNORED} to ignore. "
                f"Received: {outside.named(unknown)} in {self.maps.image_name(index)}."
            )
        return ids


class MapFiles(FileSource):
    """PNG files of class ids, greyscale or with a palette: a pixel's value is its class."""

    def image_name(self, index: int) -> str:
        return str(self.path(index))

    def open(self, index: int, payload: object, *, min_pixels: int | None = None) -> Image.Image:
        del payload, min_pixels
        return read_ids(self.path(index), name=self.image_name(index))


def read_ids(encoded: Path | bytes, *, name: str) -> Image.Image:
    """Reads a PNG of class ids, a file or its bytes: an image of mode L."""
    with open_image(encoded, ("PNG",), name=name) as image:
        if image.mode not in ("L", "P"):
            raise UserError(
                "Expected a PNG of class ids, 8 bits, greyscale or with a palette. Received: "
                f"{name}, of mode {image.mode}. Colours must be turned into ids first."
            )
        return Image.fromarray(np.asarray(image))


def _occurring(ids: Image.Image) -> set[int]:
    counts = ids.histogram()  # unlike NumPy's, it copies nothing
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
