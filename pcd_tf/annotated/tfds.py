"""Annotated images of TensorFlow Datasets: any with `image` and `objects`, coco and voc first."""

import functools
from typing import Any

import numpy as np
import tensorflow_datasets

from pcd_tf import data
from pcd_tf.annotated._source import Objects, Source
from pcd_tf.annotated._tfrecords import Records
from pcd_tf.errors import UserError

NUM_KEPT = 16  # examples kept, as the image and the objects of one are asked for in turn
CROWD = ("is_crowd", "is_difficult")  # COCO's and VOC's name for what is not learned from


def build(
    *, tfds_name: str | None = None, data_dir: str | None = None, split: str, **_: object
) -> "AnnotatedTfdsSource":
    """Opens a split of the dataset `tfds_name`, prepared below `data_dir` (default: TFDS's own)."""
    if tfds_name is None:
        raise UserError('Expected tfds_name, such as "coco/2017" or "voc/2012". Received: None.')
    return AnnotatedTfdsSource(tfds_name, data_dir=data_dir, split=split)


class AnnotatedTfdsSource(Source):
    """A split of a dataset that has `image` and `objects` with `bbox` and `label`.

    A dataset that is not yet prepared is downloaded and prepared first. Its TFRecord files are not
    read at the start, only where each record begins, so that any image is within reach; boxes are
    checked as they are read. VOC's difficult objects count as COCO's crowds. Boxes are those of
    TFDS: for VOC its xmin and ymin are one pixel more than those of the source `voc`. No masks.

    Source: tensorflow.org/datasets/catalog/coco and .../voc.

    Args:
        tfds_name: name, or name/config, or name/config:version.
        data_dir: where TFDS keeps its data; None is TFDS's own default, ~/tensorflow_datasets.
        split: a split, or a part of one: "train", "validation", "train[:80%]".

    Raises:
        UserError: when there is no such dataset or split, it has no objects, or its files are no
            TFRecords; when the dataset is not prepared, and cannot be.

    Example:
        source = AnnotatedTfdsSource("voc/2012", split="train")
    """

    def __init__(self, tfds_name: str, *, data_dir: str | None = None, split: str) -> None:
        self._images = data.build("tfds", tfds_name=tfds_name, data_dir=data_dir, split=split)
        info = tensorflow_datasets.builder(tfds_name, data_dir=data_dir).info
        features = info.features
        objects = getattr(features["objects"], "feature", None) if "objects" in features else None
        if objects is None or not {"bbox", "label"} <= set(objects):
            raise UserError(
                f"Expected a feature `objects` with `bbox` and `label` in {tfds_name}. "
                f"Received: {features}"
            )
        if info.file_format != tensorflow_datasets.core.FileFormat.TFRECORD:
            raise UserError(
                f"Expected {info.full_name} to be prepared as tfrecord. Received: "
                f"{info.file_format.value}. Prepare it with `tfds build --file_format=tfrecord`."
            )
        super().__init__(
            self._images.name,
            class_names=objects["label"].names,
            num_examples=self._images.num_examples,
            has_masks=False,
        )
        wanted = {"image": True, "objects": True, "image/id": "image/id" in features}
        partly = tensorflow_datasets.decode.PartialDecoding(wanted)
        self._features = partly.extract_features(features)
        self._records = Records(info.splits[split].file_instructions)
        self._example = functools.lru_cache(maxsize=NUM_KEPT)(self._read)
        self._size = functools.cache(self._upright_size)

    def image(self, index: int) -> np.ndarray:
        return np.asarray(self._images.open(index, self._example(index)["image"]))

    def size(self, index: int) -> tuple[int, int]:
        return self._size(index)

    def objects(self, index: int) -> Objects:
        objects = self._example(index)["objects"]
        return Objects(
            boxes=self._boxes(index),
            labels=np.asarray(objects["label"], np.int64),
            crowd=self._crowd(index),
            areas=np.asarray(objects["area"], np.float64) if "area" in objects else None,
        )

    def image_name(self, index: int) -> str:
        return self._images.image_name(index)

    def image_id(self, index: int) -> int:
        if "image/id" in self._features:
            return int(self._example(index)["image/id"])
        return super().image_id(index)

    def _upright_size(self, index: int) -> tuple[int, int]:
        return data.size_of(
            self._example(index)["image"], name=f"{self.image_name(index)} of {self.name}"
        )

    def _boxes(self, index: int) -> np.ndarray:
        """Gives the boxes as annotated, float64 (n, 4), x1, y1, x2, y2 in pixels."""
        height, width = self.size(index)
        shares = np.asarray(self._example(index)["objects"]["bbox"], np.float64).reshape(-1, 4)
        if not np.isfinite(shares).all():
            raise UserError(
                f"Expected finite boxes of {self.image_name(index)} of {self.name}. "
                f"Received: {shares.tolist()}."
            )
        return shares[:, [1, 0, 3, 2]] * np.array([width, height] * 2)  # from y1, x1, y2, x2

    def _crowd(self, index: int) -> np.ndarray:
        objects = self._example(index)["objects"]
        crowd = np.zeros(len(objects["label"]), np.bool_)
        for name in CROWD:
            if name in objects:
                crowd |= np.asarray(objects[name], np.bool_)
        return crowd

    def _read(self, index: int) -> dict[str, Any]:
        skip = tensorflow_datasets.decode.SkipDecoding()
        record = self._records[index]
        return self._features.deserialize_example_np(record, decoders={"image": skip})
