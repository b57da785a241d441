"""Images that are files below a directory."""

import functools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from PIL import Image

from pcd_tf.data._decode import decode
from pcd_tf.data._order import Record
from pcd_tf.data._source import Source
from pcd_tf.errors import UserError


class FileSource(Source):
    """Image files, each within reach by its number; the next one stands in for an unreadable one.

    Args:
        name: what to call the source in messages.
        root: the directory.
        files: paths relative to it.
        settings: further ones of `Source`.
    """

    def __init__(self, name: str, root: Path, files: Sequence[str], **settings: Any) -> None:
        super().__init__(name, len(files), **settings)
        self.root = root
        self.files = files

    def path(self, index: int) -> Path:
        """Gives the path of an image's file."""
        return self.root / self.files[index]

    def image_name(self, index: int) -> str:
        # Python holds a name that is no UTF-8 with lone surrogates, which no file format takes.
        return self.files[index].encode(errors="backslashreplace").decode()

    def open(self, index: int, payload: object, *, min_pixels: int | None = None) -> Image.Image:
        del payload
        return decode(self.path(index), min_pixels=min_pixels, root=self.directory_of(index))

    @property
    def is_encoded(self) -> bool:
        return True

    def encoded(self, record: Record) -> tf.Tensor:
        folder = os.fsencode(self.root.absolute()) + os.fsencode(os.sep)
        return tf.io.read_file(folder + tf.gather(self._names, record["index"]))

    def replacements(self, index: int) -> Iterator[tuple[int, None]]:
        for step in range(1, self.num_examples):
            yield (index + step) % self.num_examples, None

    def directory_of(self, index: int) -> Path:
        """Gives the directory whose absence means that a disk is away; see `files.patiently`."""
        del index
        return self.root

    @functools.cached_property
    def _names(self) -> tf.Tensor:
        with tf.init_scope():  # it outlives the graph that asks for it first
            return tf.constant([os.fsencode(file) for file in self.files])


def directory(data_dir: str | os.PathLike[str] | None, what: str) -> Path:
    """Reads the setting `data_dir` of a source that needs it; `what` says which directory it is."""
    if data_dir is None:
        raise UserError(f"Expected data_dir, the directory {what}. Received: None.")
    return Path(data_dir).expanduser()
