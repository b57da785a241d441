"""`--dataset=tfrecord`: the records that `main.py prepare` wrote, read without Python."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets
from PIL import Image

from pcd_tf.data import _records
from pcd_tf.data._annotated import Annotated
from pcd_tf.data._built import BuiltSource
from pcd_tf.data._order import Record
from pcd_tf.data._segmented import Segmented, read_ids
from pcd_tf.data._source import Source
from pcd_tf.errors import UserError


def build(*, data_dir: str | None = None, split: str = "train", **_: object) -> "TfrecordSource":
    """Opens the images of a split of the directory `data_dir`, and their classes."""
    return TfrecordSource(data_dir, split)


def build_annotated(*, data_dir: str | None = None, split: str, **_: object) -> Annotated:
    """Opens a split with what is annotated on its images; the annotations are kept in memory."""
    images = TfrecordSource(data_dir, split, contents="annotated")
    return Annotated(
        images,
        [image.objects for image in images.listed if image.objects],
        class_names=images.prepared.class_names,
        category_ids=images.prepared.category_ids,
    )


def build_segmented(*, data_dir: str | None = None, split: str, **_: object) -> Segmented:
    """Opens a split with its class maps."""
    images = TfrecordSource(data_dir, split, contents="segmented")
    return Segmented(images, _Maps(images), images.prepared.class_names)


class TfrecordSource(BuiltSource):
    """A split of the records of `main.py prepare`.

    Each image was decoded when it was written, so no other stands in for one, and nothing of the
    stream needs Python.

    Args:
        data_dir: the directory.
        split: as it was prepared.
        contents: what the records must hold besides: "annotated" or "segmented".

    Raises:
        UserError: when there are no such records, or a file is missing or cut off.

    Example:
        source = TfrecordSource("records")
    """

    def __init__(self, data_dir: str | None, split: str, *, contents: str = "images") -> None:
        if data_dir is None:
            raise UserError("Expected data_dir, the directory of the records. Received: None.")
        root = Path(data_dir).expanduser()
        self.prepared, self.listed = _records.read(root, split)
        if contents not in ("images", self.prepared.contents):
            raise UserError(
                f"Expected {contents} images in {root}. Received: {self.prepared.contents}, as "
                f"they were prepared. Prepare them with --contents={contents}."
            )
        labels = np.array([image.label for image in self.listed], np.int64)
        super().__init__(
            tensorflow_datasets.builder_from_directory(root),
            split,
            name=f"{root} {split}",
            also={"map": "segmentation"} if contents == "segmented" else None,
            labels=labels,
            class_names=self.prepared.class_names if (labels >= 0).any() else (),
        )

    @property
    def is_native(self) -> bool:
        return True

    def image_name(self, index: int) -> str:
        return self.listed[index].name


class _Maps(Source):
    """The class maps in the records."""

    def __init__(self, images: TfrecordSource) -> None:
        super().__init__(images.name, images.num_examples)
        self._images = images

    @property
    def is_encoded(self) -> bool:
        return True

    @property
    def is_native(self) -> bool:
        return True

    def encoded(self, record: Record) -> tf.Tensor:
        return record["payload"]

    def image_name(self, index: int) -> str:
        return f"the class map of {self._images.image_name(index)}"

    def open(self, index: int, payload: Any, *, min_pixels: int | None = None) -> Image.Image:
        del min_pixels
        if payload is None:
            (record,) = self._images.chosen([index]).as_numpy_iterator()
            payload = record["map"]
        return read_ids(payload, name=self.image_name(index))
