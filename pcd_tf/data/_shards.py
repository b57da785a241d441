"""TFRecord files of the images of any source, written by several processes side by side."""

import concurrent.futures
import dataclasses
import functools
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from pcd_tf import atomic, data, errors
from pcd_tf.data._annotated import Annotated
from pcd_tf.data._decode import DecodeError, set_max_pixels
from pcd_tf.data._order import Record
from pcd_tf.data._records import Image, Objects, Shard, features, read_list, shard_file, write
from pcd_tf.data._segmented import Segmented
from pcd_tf.data._source import Source
from pcd_tf.data._stored import Size, small, stored, stored_map, stored_objects
from pcd_tf.errors import UserError


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where the images of a split come from; each process opens it for itself.

    Args:
        contents: "images", "annotated" or "segmented"; see `pcd_tf.data.names`.
        dataset: one of `pcd_tf.data.names(contents)`.
        split: as the dataset calls it.
        data_dir, tfds_name, annotations, class_names, seed: see `pcd_tf.data.build_annotated`.
    """

    contents: str
    dataset: str
    split: str
    data_dir: str | None = None
    tfds_name: str | None = None
    annotations: str | None = None
    class_names: tuple[str, ...] = ()
    seed: int = 0

    def open(self) -> Source | Annotated | Segmented:
        """Opens the source; raises a UserError when it cannot be used."""
        of: dict[str, Any] = {"data_dir": self.data_dir, "split": self.split, "seed": self.seed}
        if self.contents == "images":
            return data.build(self.dataset, tfds_name=self.tfds_name, **of)
        if self.contents == "segmented":
            return data.build_segmented(self.dataset, class_names=self.class_names, **of)
        return data.build_annotated(
            self.dataset,
            tfds_name=self.tfds_name,
            annotations=self.annotations,
            class_names=self.class_names,
            **of,
        )


@dataclasses.dataclass(frozen=True)
class ShardTask:
    """One file to write.

    Args:
        origin: of the images.
        root: the directory.
        split: as the records call it.
        number: which file of the split, from 0.
        num_shards: files of the split.
        first: image of the source.
        stop: the one behind the last.
        max_side: longest side of what is kept, in pixels.
    """

    origin: Origin
    root: Path
    split: str
    number: int
    num_shards: int
    first: int
    stop: int
    max_side: int

    @property
    def file(self) -> Path:
        """The TFRecord file."""
        return shard_file(self.root, self.split, self.number, self.num_shards)

    @property
    def note(self) -> Path:
        """What is in it, until all files are there; it is written behind the file."""
        return self.file.with_name(f"{self.file.name}.json")

    def done(self) -> Shard | None:
        """Gives what is in the file, where it is written already."""
        if not (self.note.is_file() and self.file.is_file()):
            return None
        shard = read_list(self.note, Shard)
        return shard if self.file.stat().st_size == shard.num_bytes else None


def written(
    tasks: Sequence[ShardTask], *, num_workers: int, max_pixels: int
) -> Iterator[tuple[ShardTask, Shard]]:
    """Writes files in several processes, and gives each that is done.

    Args:
        tasks: what to write.
        num_workers: processes.
        max_pixels: of an image; see `set_max_pixels`.

    Raises:
        UserError: when a source cannot be read; when the system ends a process.
    """
    context = multiprocessing.get_context("spawn")  # TensorFlow does not survive a fork
    stop = context.Event()
    with concurrent.futures.ProcessPoolExecutor(
        num_workers, context, initializer=_begin, initargs=(stop, max_pixels)
    ) as processes:
        try:
            waiting = {processes.submit(_write, task): task for task in tasks}
            for future in concurrent.futures.as_completed(waiting):
                yield waiting.pop(future), future.result()
        except concurrent.futures.BrokenExecutor as error:
            raise UserError(
                f"Expected {num_workers} processes to write records. Received: the system ended "
                "one, most often for want of memory. Give the same command again with fewer "
                "--num_workers."
            ) from error
        finally:
            stop.set()
            processes.shutdown(wait=False, cancel_futures=True)


class _Stopped(Exception):  # noqa: N818 - no error
    """The process that waits for a file no longer does."""


_stop: list[Any] = []  # the event of this process


def _begin(stop: Any, max_pixels: int) -> None:
    """Makes a process one of several: with one thread, no GPU, and ended by its parent alone."""
    _stop[:] = [stop]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all processes
    threading.Thread(target=_end_with_parent, daemon=True).start()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.set_visible_devices([], "GPU")
    set_max_pixels(max_pixels)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # killed, it could not say that the work is over


@functools.lru_cache(maxsize=1)
def _opened(origin: Origin) -> Source | Annotated | Segmented:
    return origin.open()


@errors.translated()
def _write(task: ShardTask) -> Shard:
    source = _opened(task.origin)
    images = source if isinstance(source, Source) else source.images
    described = features(task.origin.contents, source.class_names)
    listed: list[Image] = []
    left_out: list[str] = []
    with atomic.file(task.file) as temporary:
        with tf.io.TFRecordWriter(os.fspath(temporary)) as writer:
            for record in images.chosen(range(task.first, task.stop)):
                if _stop and _stop[0].is_set():
                    raise _Stopped
                index = int(record["index"])
                try:
                    image, example = _example(source, images, record, task.max_side)
                except DecodeError:
                    left_out.append(_name(images, index))
                    continue
                listed.append(image)
                serialised = tf.train.Example.FromString(described.serialize_example(example))
                # Of maps in no order: the same images give the same bytes.
                writer.write(serialised.SerializeToString(deterministic=True))
        num_bytes = temporary.stat().st_size
    shard = Shard(num_bytes, listed, left_out)
    write(task.note, shard)
    return shard


def _example(
    source: Source | Annotated | Segmented, images: Source, record: Record, max_side: int
) -> tuple[Image, dict[str, Any]]:
    """Makes what the list tells of an image, and its record for TFDS."""
    index, label = int(record["index"]), int(record["label"])
    name = _name(images, index)
    if isinstance(source, Annotated):
        encoded, size = _fitting(source, record, source.size(index), max_side)
        objects = stored_objects(source, index, size)
        example = {"image/id": objects.image_id, "objects": _for_tfds(objects)}
        image = Image(name, objects=objects)
    elif isinstance(source, Segmented):
        ids = source.semantic_map(index, record["map"].numpy() if "map" in record else None)
        encoded, size = _fitting(source, record, (ids.shape[0], ids.shape[1]), max_side)
        example = {"segmentation": stored_map(ids, size)}
        image = Image(name)
    else:
        encoded, _ = stored(images, record, max_side=max_side)
        example = {"label": label} if source.class_names else {}
        image = Image(name, label)
    return image, {"image": encoded, "image/filename": name, **example}


def _fitting(
    source: Annotated | Segmented, record: Record, labelled: Size, max_side: int
) -> tuple[bytes, Size]:
    """Makes the bytes of an image with labels for a height and width, and gives what is kept."""
    encoded, size = stored(source.images, record, max_side=max_side, size=labelled)
    expected = small(labelled, max_side)
    if size != expected:
        raise UserError(
            f"Expected an image and what is known of it of one size. Received: {size} and "
            f"{expected} (height, width) of {source.image_name(int(record['index']))} in "
            f"{source.name}."
        )
    return encoded, size


def _name(images: Source, index: int) -> str:
    # A name from a JSON file may have half of a surrogate pair, which is no UTF-8.
    return images.image_name(index).encode(errors="backslashreplace").decode()


def _for_tfds(objects: Objects) -> list[dict[str, Any]]:
    number = len(objects.labels)
    return [
        {
            "bbox": np.array(box),
            "label": label,
            "is_crowd": crowd,
            "area": area,
            "mask": mask,
        }
        for box, label, crowd, area, mask in zip(
            objects.boxes,
            objects.labels,
            objects.crowd,
            objects.areas or [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in objects.boxes],
            objects.masks or [""] * number,
            strict=True,
        )
    ]
