"""TFRecord files of the images of any source, written by several processes side by side."""

import concurrent.futures
import dataclasses
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from pcd_tf import atomic, errors
from pcd_tf.data._annotated import Annotated
from pcd_tf.data._decode import DecodeError, set_max_pixels
from pcd_tf.data._order import Record
from pcd_tf.data._records import Image, Shard, features, read_list, write_list
from pcd_tf.data._segmented import Segmented
from pcd_tf.data._source import Source
from pcd_tf.data._stored import stored, stored_map, stored_objects
from pcd_tf.errors import UserError

Opener = Callable[[], Source | Annotated | Segmented]


@dataclasses.dataclass(frozen=True)
class ShardTask:
    """One file to write.

    Args:
        contents: "images", "annotated" or "segmented"; see `pcd_tf.data.names`.
        opener: opens the source in each process; raises a UserError when it cannot be used.
        split: as the records call it.
        file: the TFRecord file.
        first: image of the source.
        stop: the one behind the last.
        max_side: longest side of what is kept, in pixels.
    """

    contents: str
    opener: Opener
    split: str
    file: Path
    first: int
    stop: int
    max_side: int

    def done(self) -> Shard | None:
        """Tells what is in the file, where it is written already."""
        return read_list(self.file)


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
    processes = concurrent.futures.ProcessPoolExecutor(
        num_workers, context, initializer=_begin, initargs=(stop, max_pixels)
    )
    try:
        waiting = _submitted(processes, tasks)
        for future in concurrent.futures.as_completed(waiting):
            yield waiting.pop(future), future.result()
    except concurrent.futures.BrokenExecutor as error:
        raise UserError(
            f"Expected {num_workers} processes to write records. Received: the system ended one, "
            "most often for want of memory. Give the same command again with fewer --num_workers."
        ) from error
    finally:
        stop.set()
        processes.shutdown(cancel_futures=True)  # and waits: one that starts still needs the event


def _submitted(
    processes: concurrent.futures.Executor, tasks: Sequence[ShardTask]
) -> dict[concurrent.futures.Future[Shard], ShardTask]:
    # A terminal interrupts all processes. Those that start here are ended by this one alone: what
    # is blocked where they start, they never see.
    earlier = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return {processes.submit(_write, task): task for task in tasks}
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, earlier)


class _Stopped(Exception):  # noqa: N818 - no error
    """The process that waits for a file no longer does."""


_stop: list[Any] = []  # the event of this process
_opened: dict[tuple[Path, str], Source | Annotated | Segmented] = {}  # the source of this process


def _begin(stop: Any, max_pixels: int) -> None:
    """Makes a process one of several: with one thread, no GPU, and ended by its parent alone."""
    _stop[:] = [stop]
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


def _go_on() -> None:
    if _stop and _stop[0].is_set():
        raise _Stopped


@errors.translated()
def _write(task: ShardTask) -> Shard:
    _go_on()
    key = task.file.parent, task.split
    if key not in _opened:
        _opened.clear()
        _opened[key] = task.opener()
    source = _opened[key]
    images = source if isinstance(source, Source) else source.images
    described = features(task.contents, source.class_names)
    listed: list[Image] = []
    left_out: dict[str, str] = {}
    with atomic.file(task.file) as temporary:
        with tf.io.TFRecordWriter(os.fspath(temporary)) as writer:
            for record in images.chosen(range(task.first, task.stop)):
                _go_on()
                try:
                    image, example = _example(source, images, record, task.max_side)
                except DecodeError as error:
                    left_out[_name(images, int(record["index"]))] = _utf8(str(error))
                    continue
                listed.append(image)
                serialised = tf.train.Example.FromString(described.serialize_example(example))
                # Of maps in no order: the same images give the same bytes.
                writer.write(serialised.SerializeToString(deterministic=True))
        num_bytes = temporary.stat().st_size
    shard = Shard(num_bytes, listed, left_out)
    write_list(task.file, shard)
    return shard


def _example(
    source: Source | Annotated | Segmented, images: Source, record: Record, max_side: int
) -> tuple[Image, dict[str, Any]]:
    """Makes what the list tells of an image, and its record for TFDS."""
    index, label, objects = int(record["index"]), -1, None
    known: dict[str, Any] = {}
    if isinstance(source, Annotated):
        encoded, size = stored(images, record, max_side, source.size(index))
        objects = stored_objects(source, index, size)
    elif isinstance(source, Segmented):
        ids = source.semantic_map(index)
        encoded, size = stored(images, record, max_side, (ids.shape[0], ids.shape[1]))
        known["segmentation"] = stored_map(ids, size)
    else:
        encoded, _ = stored(images, record, max_side)
        if source.class_names:
            known["label"] = label = int(record["label"])
    name = _name(images, index)
    return Image(name, label, objects), {"image": encoded, "image/filename": name, **known}


def _name(images: Source, index: int) -> str:
    return _utf8(images.image_name(index))


def _utf8(text: str) -> str:
    # A name from a JSON file may have half of a surrogate pair, which is no UTF-8.
    return text.encode(errors="backslashreplace").decode()
