"""Annotated images with masks as TFRecords in Model Garden's tf.Example format."""

import concurrent.futures
import dataclasses
import functools
import itertools
import json
import os
import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pycocotools.mask
import tensorflow as tf

from pcd_tf import atomic, data, records
from pcd_tf.errors import UserError

Array = npt.NDArray[Any]

_INFO = "records.json"
_SHARD_SIZE = 256  # images a file: COCO's train2017 in 458 files
_NUM_THREADS = 8


@dataclasses.dataclass(frozen=True)
class Records:
    """TFRecord files.

    Args:
        pattern: of their names.
        num_images: in all of them.
        max_objects: of one image.
    """

    pattern: str
    num_images: int
    max_objects: int


class _Info(msgspec.Struct):
    """What stands beside the records."""

    origin: dict[str, Any]
    num_images: int
    max_objects: int


def write(source: data.Annotated, directory: Path) -> Records:
    """Writes the images of a source that have an object, all of them or none.

    Crowds are left out, and so are images with nothing else, as Detectron2 does. Images and masks
    are PNG, so nothing is lost; of COCO's photographs each takes some 0.4 MB. Files of the same
    images that are there already are taken as they are; those of others are replaced.

    Args:
        source: with masks.
        directory: a new one, or one that this function wrote.

    Raises:
        UserError: when no image has an object; when the directory holds something else.
    """
    origin = {**data.identity(source), "class_names": list(source.class_names)}
    is_written = (directory / _INFO).is_file()
    if not is_written or _info(directory).origin != origin:
        with atomic.directory(directory, overwrite=is_written) as folder:
            found = _write_shards(source, folder)
            (folder / _INFO).write_text(json.dumps({"origin": origin, **found}))
    info = _info(directory)
    pattern = os.fspath(directory / "*.tfrecord")
    return Records(pattern, info.num_images, info.max_objects)


def _info(directory: Path) -> _Info:
    return records.read(directory / _INFO, _Info, what="what stands beside TFRecords of a run")


def remove(directory: Path) -> None:
    """Removes what `write` wrote."""
    shutil.rmtree(directory)


def example(source: data.Annotated, index: int, image: Array) -> tuple[bytes, int]:
    """Makes the tf.Example of one image; returns it serialised, and its number of objects.

    Labels start at 1, since 0 is Model Garden's background. Boxes are in parts of the image.
    """
    height, width = image.shape[:2]
    objects, rles = source.objects(index), source.masks(index)
    if rles is None:
        raise UserError(
            f"Expected masks. Received: image {source.image_name(index)} of {source.name}, which "
            "has boxes alone. Use --model=retinanet, or a source with masks: --dataset=coco_json."
        )
    boxes, large = objects.inside()
    kept = np.flatnonzero(large & ~objects.crowd)
    x1, y1, x2, y2 = (boxes[kept] / np.array([width, height] * 2)).T
    masks = [_png(pycocotools.mask.decode(rles[i])[..., None]) for i in kept]
    features = {
        "image/encoded": _bytes([_png(image)]),
        "image/source_id": _bytes([str(source.objects(index).image_id).encode()]),
        "image/height": _integers([height]),
        "image/width": _integers([width]),
        "image/object/bbox/xmin": _floats(x1),
        "image/object/bbox/xmax": _floats(x2),
        "image/object/bbox/ymin": _floats(y1),
        "image/object/bbox/ymax": _floats(y2),
        "image/object/class/label": _integers(objects.labels[kept] + 1),
        "image/object/is_crowd": _integers([0] * len(kept)),
        "image/object/mask": _bytes(masks),
    }
    made = tf.train.Example(features=tf.train.Features(feature=features))
    return made.SerializeToString(), len(kept)


def _write_shards(source: data.Annotated, folder: Path) -> dict[str, int]:
    num_images = max_objects = 0
    make = functools.partial(example, source)
    with concurrent.futures.ThreadPoolExecutor(_NUM_THREADS) as threads:
        for first in range(0, source.num_examples, _SHARD_SIZE):
            indices = range(first, min(first + _SHARD_SIZE, source.num_examples))
            images = zip(indices, data.annotated_images(source, indices), strict=True)
            with tf.io.TFRecordWriter(os.fspath(folder / f"{first:08d}.tfrecord")) as writer:
                # A few at a time: `map` holds all the images that it is given.
                while few := list(itertools.islice(images, _NUM_THREADS)):
                    for serialised, num_objects in threads.map(lambda one: make(*one), few):
                        if num_objects:
                            writer.write(serialised)
                            num_images += 1
                            max_objects = max(max_objects, num_objects)
    if not num_images:
        raise UserError(
            f"Expected an image with an object that is no crowd. Received: {source.name} with "
            f"{source.num_examples} images and none. Check --train_split and the annotations."
        )
    return {"num_images": num_images, "max_objects": max_objects}


def _png(image: Array) -> bytes:
    return bytes(tf.io.encode_png(image).numpy())


def _bytes(values: Any) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


def _integers(values: Any) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def _floats(values: Any) -> tf.train.Feature:
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))
