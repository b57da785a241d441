"""The directory of records that `main.py prepare` writes and `--dataset=tfrecord` reads.

Beside TFRecord files it holds what TFDS needs to read these (features.json, dataset_info.json), a
list of the images of each split, SPLIT.images.json, and what they are, prepared.json, the last.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
import tensorflow_datasets

from pcd_tf import atomic, files, records
from pcd_tf.data._annotated import Annotation
from pcd_tf.errors import UserError

PREPARED = "prepared.json"

_NAME = "prepared"  # of the dataset, to TFDS
_REMEDY = "Give the same `main.py prepare` again: it goes on from what it has."

_T = TypeVar("_T")


class Objects(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What is annotated on an image; see `Annotation`."""

    image_id: int
    height: int
    width: int
    boxes: list[tuple[float, float, float, float]]
    labels: list[int]
    crowd: list[bool]
    areas: list[float] | None = None
    masks: list[str] | None = None  # COCO's compressed run lengths

    def annotation(self) -> Annotation:
        """Gives what a source of annotated images holds."""
        size = [self.height, self.width]
        return Annotation(
            self.image_id,
            self.height,
            self.width,
            np.array(self.boxes, np.float64).reshape(-1, 4),  # (n, 4), for n = 0 as well
            np.array(self.labels, np.int64),
            np.array(self.crowd, np.bool_),
            None if self.areas is None else np.array(self.areas, np.float64),
            None
            if self.masks is None
            else [
                msgspec.Raw(msgspec.json.encode({"size": size, "counts": mask}))
                for mask in self.masks
            ],
        )


class Image(msgspec.Struct, frozen=True, omit_defaults=True):
    """An image of the records: its name in the source, its class, and what is on it."""

    name: str
    label: int = -1
    objects: Objects | None = None


class Shard(msgspec.Struct, frozen=True):
    """What is in one TFRecord file, and the names of what could not be decoded."""

    num_bytes: int
    images: list[Image]
    left_out: list[str]


class Split(msgspec.Struct, frozen=True):
    """The files of a split."""

    shards: list[Shard]


class Prepared(msgspec.Struct, frozen=True):
    """What the records of all splits hold."""

    contents: str
    class_names: list[str]
    category_ids: list[int]
    splits: list[str]


def shard_file(root: Path, split: str, number: int, num_shards: int) -> Path:
    """Names a TFRecord file as TFDS does."""
    return root / f"{_NAME}-{split}.tfrecord-{number:05d}-of-{num_shards:05d}"


def list_file(root: Path, split: str) -> Path:
    """Names the list of what is in the files of a split."""
    return root / f"{split}.images.json"


def features(contents: str, class_names: Sequence[str]) -> Any:
    """Describes a record to TFDS."""
    of = tensorflow_datasets.features
    described: dict[str, Any] = {"image": of.Image(), "image/filename": of.Text()}
    if contents == "annotated":
        described["image/id"] = of.Scalar(np.int64)
        described["objects"] = of.Sequence(
            {
                # In pixels and as annotated, so that a whole number stays one.
                "bbox": of.BBoxFeature(bbox_format="XYXY"),
                "label": of.ClassLabel(names=_labels(class_names)),
                "is_crowd": of.Scalar(np.bool_),
                "area": of.Scalar(np.float32),
                "mask": of.Text(),  # COCO's compressed run lengths; "" without masks
            }
        )
    elif contents == "segmented":
        described["segmentation"] = of.Image(shape=(None, None, 1), use_colormap=True)
    elif class_names:
        described["label"] = of.ClassLabel(names=_labels(class_names))
    return of.FeaturesDict(described)


def finish_records(root: Path, prepared: Prepared, shards: dict[str, list[Shard]]) -> None:
    """Writes all but prepared.json, once all files are there."""
    template = tensorflow_datasets.core.ShardedFileTemplate(
        data_dir=root, dataset_name=_NAME, filetype_suffix="tfrecord"
    )
    tensorflow_datasets.folder_dataset.write_metadata(
        data_dir=root,
        features=features(prepared.contents, prepared.class_names),
        split_infos=[
            tensorflow_datasets.core.SplitInfo(
                name=split,
                shard_lengths=[len(shard.images) for shard in of_split],
                num_bytes=sum(shard.num_bytes for shard in of_split),
                filename_template=template.replace(split=split),
            )
            for split, of_split in shards.items()
        ],
        check_data=False,
        description=f"{prepared.contents}, as pcd_tf's `main.py prepare` writes them.",
    )
    for split, of_split in shards.items():
        write(list_file(root, split), Split(of_split))


def write(path: Path, content: msgspec.Struct) -> None:
    """Writes a record of this directory, whole or not at all."""
    with atomic.file(path) as temporary:
        temporary.write_bytes(msgspec.json.encode(content))


def read_list(path: Path, kind: type[_T]) -> _T:
    """Reads a list of images; of a million it has a hundred megabytes."""
    try:
        return msgspec.json.decode(files.read_bytes(path), type=kind)
    except msgspec.MsgspecError as error:
        raise UserError(
            f"Expected a list of what is in records. Received: {path} ({error}). {_REMEDY}"
        ) from error


def read(root: Path, split: str) -> tuple[Prepared, Split]:
    """Reads what a directory holds, and checks that the files of a split are whole.

    Raises:
        UserError: when there are no records, or not that split; when a file is missing or cut off.
    """
    result = root / PREPARED
    if not files.is_file(result):
        raise UserError(
            f"Expected the directory of records that `main.py prepare` finished. Received: {root}, "
            f"without a {PREPARED}. {_REMEDY}"
        )
    prepared = records.read(result, Prepared, what="what `main.py prepare` wrote", remedy=_REMEDY)
    if split not in prepared.splits:
        raise UserError(
            f"Expected a split of {root}: {', '.join(prepared.splits)}. Received: {split!r}."
        )
    listed = read_list(list_file(root, split), Split)
    for number, shard in enumerate(listed.shards):
        file = shard_file(root, split, number, len(listed.shards))
        there = file.stat().st_size if files.is_file(file) else 0
        if there != shard.num_bytes:
            raise UserError(
                f"Expected {shard.num_bytes} bytes in {file}. Received: {there}. Copy it again, or "
                "prepare the data again in another directory."
            )
    return prepared, listed


def _labels(class_names: Sequence[str]) -> list[str]:
    """Makes names that TFDS can keep, a line each; ours are those of prepared.json."""
    plain = [" ".join(name.split()) for name in class_names]
    unique = len(set(plain)) == len(plain) and all(plain)
    return plain if unique else [f"{number}_{name}" for number, name in enumerate(plain)]
