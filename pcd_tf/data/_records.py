"""The directory of records that `main.py prepare` writes and `--dataset=tfrecord` reads.

Beside each TFRecord file stands a list of its images, with what is annotated on them; what TFDS
needs to read the files (features.json, dataset_info.json); and prepared.json, the last, which says
what all of it is.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import tensorflow_datasets

from pcd_tf import atomic, files, records
from pcd_tf.data._annotated import Annotation
from pcd_tf.errors import UserError

PREPARED = "prepared.json"

_NAME = "prepared"  # of the dataset, to TFDS
_REMEDY = "Give the same `main.py prepare` again: it goes on from what it has."


class Image(msgspec.Struct, frozen=True, omit_defaults=True):
    """An image of the records: its name in the source, its class, and what is on it."""

    name: str
    label: int = -1
    objects: Annotation | None = None


class Shard(msgspec.Struct, frozen=True):
    """What is in one TFRecord file, and why which images could not be decoded, by their names."""

    num_bytes: int
    images: list[Image]
    left_out: dict[str, str]


class Prepared(msgspec.Struct, frozen=True):
    """What the records of all splits hold.

    Args:
        contents: "images", "annotated" or "segmented"; see `pcd_tf.data.names`.
        class_names: the classes, where there are any.
        category_ids: their COCO ids, of objects.
        splits: how many files each has.
        left_out: why which images of each could not be decoded, by their names.
    """

    contents: str
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    splits: dict[str, int]
    left_out: dict[str, dict[str, str]]


def shard_file(root: Path, split: str, number: int, num_shards: int) -> Path:
    """Names a TFRecord file as TFDS does."""
    return root / f"{_NAME}-{split}.tfrecord-{number:05d}-of-{num_shards:05d}"


def features(contents: str, class_names: Sequence[str]) -> Any:
    """Describes a record to TFDS."""
    of = tensorflow_datasets.features
    described: dict[str, Any] = {"image": of.Image(), "image/filename": of.Text()}
    if contents == "segmented":
        described["segmentation"] = of.Image(shape=(None, None, 1), use_colormap=True)
    elif contents == "images" and class_names:
        described["label"] = of.ClassLabel(names=_labels(class_names))
    return of.FeaturesDict(described)


def describe_records(root: Path, prepared: Prepared, shards: dict[str, list[Shard]]) -> None:
    """Writes what TFDS needs to read the files."""
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


def write_list(file: Path, shard: Shard) -> None:
    """Writes the list of a TFRecord file that is written, whole or not at all."""
    with atomic.file(_list_of(file)) as temporary:
        temporary.write_bytes(msgspec.json.encode(shard, enc_hook=_encoded))


def read_list(file: Path) -> Shard | None:
    """Reads the list of a TFRecord file; None where that is not written, or not whole."""
    path = _list_of(file)
    if not files.is_file(path):
        return None
    try:
        shard = msgspec.json.decode(files.read_bytes(path), type=Shard, dec_hook=_decoded)
    except (msgspec.MsgspecError, ValueError, TypeError) as error:
        raise UserError(
            f"Expected the list of what is in {file.name}. Received: {path} ({error}). "
            "Copy it again, or remove it and prepare the data again."
        ) from error
    return shard if files.is_file(file) and file.stat().st_size == shard.num_bytes else None


def read(root: Path, split: str) -> tuple[Prepared, list[Image]]:
    """Reads what a directory holds, and which images a split; checks that its files are whole.

    Raises:
        UserError: when there are no records, or not that split; when a file is missing or cut off.
    """
    result = root / PREPARED
    if not files.is_file(result):
        raise UserError(
            f"Expected the directory of records that `main.py prepare` finished. Received: {root}, "
            f"without a {PREPARED}. {_REMEDY}"
        )
    prepared = records.read(
        result, Prepared, what="what `main.py prepare` wrote", remedy=_REMEDY, most=None
    )
    if split not in prepared.splits:
        raise UserError(
            f"Expected a split of {root}: {', '.join(prepared.splits)}. Received: {split!r}."
        )
    images: list[Image] = []
    for number in range(prepared.splits[split]):
        file = shard_file(root, split, number, prepared.splits[split])
        shard = read_list(file)
        if shard is None:
            raise UserError(
                f"Expected {file} and {_list_of(file).name} as they were written. Received: one "
                "that is missing or cut off. Copy both again, or prepare the data again in another "
                "directory."
            )
        images += shard.images
    return prepared, images


def _list_of(file: Path) -> Path:
    return file.with_name(f"{file.name}.json")


def _encoded(array: np.ndarray) -> Any:
    """Keeps of an array what a list cannot tell, of an empty one above all."""
    return array.dtype.name, array.shape, array.ravel().tolist()


def _decoded(_: type, kept: Any) -> np.ndarray:
    dtype, shape, values = kept
    return np.array(values, dtype).reshape(shape)


def _labels(class_names: Sequence[str]) -> list[str]:
    """Makes names that TFDS can keep, a line each; ours are those of prepared.json."""
    plain = [" ".join(name.split()) for name in class_names]
    unique = len(set(plain)) == len(plain) and all(plain)
    return plain if unique else [f"{number}_{name}" for number, name in enumerate(plain)]
