"""`--dataset=tfds`: any TensorFlow Datasets name with an `image` feature, streamed."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow_datasets

from pcd_tf import errors
from pcd_tf.data import _headers
from pcd_tf.data._annotated import Annotated, Annotation
from pcd_tf.data._built import BuiltSource
from pcd_tf.errors import UserError

logger = logging.getLogger(__name__)

CROWD = ("is_crowd", "is_difficult")  # COCO's and VOC's name for what is not learned from


def build(
    *,
    tfds_name: str | None = None,
    data_dir: str | None = None,
    split: str = "train",
    download: bool = True,
    **_: object,
) -> "TfdsSource":
    """Opens a split of the dataset `tfds_name`, prepared below `data_dir` (default: TFDS's own)."""
    if tfds_name is None:
        raise UserError('Expected tfds_name, such as "cifar10" or "voc/2012". Received: None.')
    return TfdsSource(tfds_name, data_dir=data_dir, split=split, download=download)


def build_annotated(
    *, tfds_name: str | None = None, data_dir: str | None = None, split: str, **_: object
) -> Annotated:
    """Opens a split of a dataset that has `image` and `objects` with `bbox` and `label`.

    The split is read once at the start, without decoding an image: annotations and sizes are then
    in memory. VOC's difficult objects count as COCO's crowds. Boxes are those of TFDS: for VOC its
    xmin and ymin are one pixel more than those of the source `voc`. No masks.

    Source: tensorflow.org/datasets/catalog/coco and .../voc.

    Raises:
        UserError: as `TfdsSource`, and when there are no objects, or an image or a box is damaged.
    """
    images = build(tfds_name=tfds_name, data_dir=data_dir, split=split)
    features = images.features
    objects = getattr(features["objects"], "feature", None) if "objects" in features else None
    if objects is None or not {"bbox", "label"} <= set(objects):
        raise UserError(
            f"Expected a feature `objects` with `bbox` and `label` in {tfds_name}. "
            f"Received: {features}"
        )
    records = images.whole(("objects", "image/id")).as_numpy_iterator()
    bar = _headers.progress(records, "annotations", images.num_examples, unit="image")
    with errors.translated():
        annotations = [_annotation(images, record) for record in bar]
    return Annotated(images, annotations, class_names=objects["label"].names)


class TfdsSource(BuiltSource):
    """A split of a TensorFlow Datasets dataset; one that is not yet prepared is prepared first.

    Args:
        tfds_name: name, or name/config, or name/config:version.
        data_dir: where TFDS keeps its data; None is TFDS's own default, ~/tensorflow_datasets.
        split: a split, or a part of one: "train", "test", "train[:80%]".
        download: whether to download and prepare a dataset that is not prepared.

    Raises:
        UserError: when there is no such dataset or split, or it has no usable `image` feature; when
            the dataset is not prepared, and cannot or must not be.

    Example:
        source = TfdsSource("cifar10", split="train[:1000]")
    """

    def __init__(
        self,
        tfds_name: str,
        *,
        data_dir: str | None = None,
        split: str = "train",
        download: bool = True,
    ) -> None:
        builder = _prepared_builder(tfds_name, data_dir, download=download)
        super().__init__(builder, split, name=f"tfds {builder.info.full_name} {split}")


def _annotation(images: TfdsSource, record: Mapping[str, Any]) -> Annotation:
    index, payload, objects = int(record["index"]), record["payload"], record["objects"]
    name = f"{images.image_name(index)} of {images.name}"
    is_encoded = isinstance(payload, bytes)
    height, width = _headers.size_of(payload, name=name) if is_encoded else payload.shape[:2]
    shares = np.asarray(objects["bbox"], np.float64).reshape(-1, 4)
    if not np.isfinite(shares).all():
        raise UserError(f"Expected finite boxes of {name}. Received: {shares.tolist()}.")
    crowds = [np.asarray(objects[crowd], np.bool_) for crowd in CROWD if crowd in objects]
    return Annotation(
        int(record.get("image/id", index + 1)),
        height,
        width,
        shares[:, [1, 0, 3, 2]] * [width, height, width, height],  # from y1, x1, y2, x2
        np.asarray(objects["label"], np.int64),
        np.any([np.zeros(len(shares), np.bool_), *crowds], axis=0),
        np.asarray(objects["area"], np.float64) if "area" in objects else None,
    )


def _prepared_builder(tfds_name: str, data_dir: str | None, *, download: bool) -> Any:
    try:
        builder = tensorflow_datasets.builder(tfds_name, data_dir=data_dir)
    except (tensorflow_datasets.core.DatasetNotFoundError, AssertionError) as error:
        # AssertionError: there is no such version
        reason = str(error).splitlines()[0]  # the list of all datasets follows
        raise UserError(
            f"Expected the name of a TensorFlow dataset. Received: {tfds_name!r}. {reason} "
            "See https://www.tensorflow.org/datasets/catalog."
        ) from error
    if not builder.data_path.exists():
        if not download:
            raise UserError(
                f"Expected {tfds_name} to be prepared in {builder.data_path}. Received: nothing "
                f"there. Prepare it first: `tfds build {tfds_name}`."
            )
        logger.warning("Preparing %s in %s; this may download it.", tfds_name, builder.data_path)
        try:
            builder.download_and_prepare()
        except Exception as error:  # what can go wrong is up to each dataset's own code
            raise UserError(
                f"Expected {tfds_name} to be prepared in {builder.data_path}. Received: nothing "
                f"there, and it could not be prepared here: {type(error).__name__}: {error}. "
                f"Prepare it where there is a network (`tfds build {tfds_name}`), "
                "copy it, and give data_dir."
            ) from error
    return builder
