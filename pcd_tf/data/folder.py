"""`--dataset=folder`: the images of a directory tree."""

import collections
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from pcd_tf.data._decode import decode
from pcd_tf.data._source import Source, indices_in_order, shuffled_indices
from pcd_tf.errors import UserError

logger = logging.getLogger(__name__)

EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")


def build(*, data_dir: str | None = None, **_: object) -> "FolderSource":
    """Opens the directory tree `data_dir`."""
    if data_dir is None:
        raise UserError("Expected data_dir, the directory of the images. Received: None.")
    return FolderSource(data_dir)


class FolderSource(Source):
    """JPEG, PNG, WebP, BMP and GIF files of a directory tree, at any depth, sorted by path.

    Where all images lie in two or more folders at the top, these are the classes. Hidden files and
    folders are left out, linked folders followed. Only names are read at the start, so a million
    files take seconds. An unreadable file's place is taken by the next readable one.

    Args:
        data_dir: the directory; `~` is expanded.

    Raises:
        UserError: when there is no such directory; when it holds no image.

    Example:
        source = FolderSource("~/photos")
        source.open(0, 0).show()
    """

    def __init__(self, data_dir: str | os.PathLike[str]) -> None:
        self.root = Path(data_dir).expanduser()
        if not self.root.is_dir():
            found = "a file" if self.root.exists() else "nothing at that path"
            raise UserError(
                f"Expected data_dir to be a directory of images. Received: {self.root} ({found})."
            )
        self.files, num_others = _find_images(self.root)
        if not self.files:
            raise UserError(
                f"Expected images ({' '.join(EXTENSIONS)}, at any depth) in {self.root}. "
                f"Received: none, and {num_others} other files. Is it the right directory?"
            )
        super().__init__(str(self.root), len(self.files), _class_names(self.files))
        self._class_index = {name: index for index, name in enumerate(self.class_names)}

    def records(self, seed: int, epoch: int | tf.Tensor) -> tf.data.Dataset:
        return shuffled_indices(self.num_examples, seed, epoch)

    def records_in_order(self, start: int = 0) -> tf.data.Dataset:
        labels = [self.label(index) for index in range(self.num_examples)]
        return indices_in_order(start, np.array(labels, np.int64))

    def image_name(self, index: int) -> str:
        # Python holds a name that is no UTF-8 with lone surrogates, which no file format takes.
        return self.files[index].encode(errors="backslashreplace").decode()

    def payloads(self, indices: Sequence[int]) -> list[int]:
        return list(indices)

    def open(self, index: int, payload: object, *, min_pixels: int | None = None) -> Image.Image:
        del payload
        return decode(self.root / self.files[index], min_pixels=min_pixels)

    def replacements(self, index: int) -> Iterator[tuple[int, int]]:
        for step in range(1, self.num_examples):
            following = (index + step) % self.num_examples
            yield following, following

    def label(self, index: int) -> int:
        """Returns the class of an image, an index into `class_names`; -1 where there are none."""
        return self._class_index.get(self.files[index].split(os.sep, 1)[0], -1)


def _find_images(root: Path) -> tuple[list[str], int]:
    """Lists the images below `root`, relative to it and sorted; counts all other files."""
    images: list[str] = []
    num_others = 0
    waiting = collections.deque([""])
    seen: set[tuple[int, int]] = (
        set()
    )  # folders, so that a link to a folder above is no endless loop
    while waiting:
        folder = waiting.popleft()
        status = (root / folder).stat()
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        try:
            entries = os.scandir(root / folder)
        except PermissionError as error:
            logger.warning("Left out a folder that may not be read: %s", error)
            continue
        with entries:
            for entry in entries:
                path = f"{folder}{os.sep}{entry.name}" if folder else entry.name
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    waiting.append(path)
                elif entry.name.lower().endswith(EXTENSIONS):
                    images.append(path)
                else:
                    num_others += 1
    return sorted(images), num_others


def _class_names(files: Sequence[str]) -> list[str]:
    """Finds the class folders: the first part of each path, if all have one and they differ."""
    if any(os.sep not in file for file in files):
        return []
    names = sorted({file.split(os.sep, 1)[0] for file in files})
    return names if len(names) > 1 else []
