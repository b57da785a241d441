"""A dataset as TensorFlow Datasets writes it, TFRecord files and their lengths, as a stream."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets
from PIL import Image

from pcd_tf.data._decode import decode, from_pixels
from pcd_tf.data._order import Record
from pcd_tf.data._source import Source
from pcd_tf.errors import UserError

# Records held to draw the next one from, or as many as take half a gigabyte. Files are shuffled.
NUM_SHUFFLED = 4096
_SHUFFLED_BYTES = 2**29
NUM_REPLACEMENTS = 16  # images held, once needed, to stand in for unreadable ones
# TFDS's own: files read side by side, records of each in turn, and bytes read at once.
_NUM_INTERLEAVED, _BLOCK, _BUFFER = 16, 16, 2**23


class BuiltSource(Source):
    """A split of a dataset that TFDS has built, read as a stream of encoded images.

    Shuffling is that of a stream: the order of the files, then among the next 4096 records. One of
    the first 16 images that can be decoded stands in for one that cannot. A file that is damaged or
    cut off is an error that names it.

    Args:
        builder: of TFDS, prepared.
        split: a split, or a part of one: "train", "test", "train[:80%]".
        name: what to call the source in messages.
        also: further features that records hold, by their names in these.
        settings: further ones of `Source`.

    Raises:
        UserError: when there is no such split, or it has no usable `image` feature; when the files
            are no TFRecords.
    """

    def __init__(
        self,
        builder: Any,
        split: str,
        *,
        name: str,
        also: Mapping[str, str] | None = None,
        **settings: Any,
    ) -> None:
        info = builder.info
        if info.file_format != tensorflow_datasets.core.FileFormat.TFRECORD:
            raise UserError(
                f"Expected {info.full_name} to be prepared as tfrecord. Received: "
                f"{info.file_format.value}. Prepare it with `tfds build --file_format=tfrecord`."
            )
        feature = _feature(info, "image")
        self._is_encoded = isinstance(feature, tensorflow_datasets.features.Image)
        if not self._is_encoded and not _holds_pixels(feature):
            raise UserError(
                f"Expected a feature `image` with uint8 pixels (H, W, C) in {info.full_name}. "
                f"Received: {info.features}"
            )
        class_names = getattr(_feature(info, "label"), "names", None) or ()
        labels = {"label": "label"} if class_names else {}
        self.features = info.features
        self._kept = {"payload": "image", **labels, **(also or {})}
        files = _files_of_split(builder, split)
        # The number of a record is the number of those before its file, and its place in the file.
        self._takes = np.array([file.take for file in files], np.int64)
        self._skips = np.array([file.skip for file in files], np.int64)
        self._before = np.cumsum([0, *self._takes])[:-1]
        self._paths = np.array([str(file.filename) for file in files])
        settings.setdefault("class_names", class_names)
        super().__init__(name, int(self._takes.sum()), **settings)
        its_bytes = info.splits[split].num_bytes / max(1, info.splits[split].num_examples)
        self._num_shuffled = int(np.clip(_SHUFFLED_BYTES / max(its_bytes, 1), 16, NUM_SHUFFLED))
        self._stand_ins: list[tuple[int, Any]] = []
        self._stand_ins_lock = threading.Lock()

    @property
    def is_encoded(self) -> bool:
        return self._is_encoded

    def encoded(self, record: Record) -> tf.Tensor:
        return record["payload"]

    def shuffled(self, seed: int, start: int = 0) -> tf.data.Dataset:
        first_epoch, num_done = divmod(start, self.num_examples)
        files = self._files(0, self.num_examples)
        num_files = len(self._paths)

        def epoch_records(epoch: tf.Tensor) -> tf.data.Dataset:
            # For this graph alone: the order must not depend on what tf.random.set_seed was given.
            tf.compat.v1.set_random_seed(None)
            its_seed = tf.random.stateless_uniform(
                (), seed=[seed, epoch], minval=0, maxval=2**31 - 1, dtype=tf.int64
            )
            order = files.shuffle(num_files, its_seed, reshuffle_each_iteration=False)
            stream = _records(order, _NUM_INTERLEAVED)
            stream = stream.shuffle(self._num_shuffled, its_seed, reshuffle_each_iteration=False)
            skipped = tf.where(epoch == first_epoch, tf.cast(num_done, tf.int64), 0)
            # What is skipped is read, but neither parsed nor decoded.
            return self._parsed(stream.skip(skipped)).map(lambda record: {**record, "epoch": epoch})

        return tf.data.Dataset.counter(first_epoch).flat_map(epoch_records)

    def chosen(self, indices: Sequence[int]) -> tf.data.Dataset:
        wanted = np.asarray(indices, np.int64)
        first, last = (int(wanted.min()), int(wanted.max())) if wanted.size else (0, -1)
        stream = _records(self._files(first, last + 1), 1)
        if wanted.size <= last - first:
            stream = stream.filter(lambda record: tf.reduce_any(record["index"] == wanted))
        unknown = {"label": tf.constant(-1, tf.int64)}
        return self._parsed(stream).map(lambda record: unknown | record)

    def whole(self, features: Sequence[str] = ()) -> tf.data.Dataset:
        """Gives all records in order, with those of some features that the dataset has."""
        wanted = {name: name for name in features if name in self.features}
        records = _records(self._files(0, self.num_examples), 1)
        return self._parsed(records, {"payload": "image", **wanted})

    def image_name(self, index: int) -> str:
        file = int(np.searchsorted(self._before, index, side="right")) - 1
        place = index - self._before[file] + self._skips[file]
        return f"{self._paths[file].rpartition('/')[2]}__{place}"  # as TFDS calls it

    def examples_to_show(self, count: int) -> list[int]:
        """Chooses the first ones: others of a stream cost reading all before them."""
        return list(range(min(count, self.num_examples)))

    def open(
        self,
        index: int,
        payload: bytes | np.ndarray | None,
        *,
        min_pixels: int | None = None,
    ) -> Image.Image:
        if payload is None:  # one of them, out of order
            (record,) = self.chosen([index]).as_numpy_iterator()
            payload = record["payload"]
        name = f"image {index} of {self.name}"
        if isinstance(payload, bytes):
            return decode(payload, name=name, min_pixels=min_pixels)
        return from_pixels(payload, name=name)

    def replacements(self, index: int) -> Iterator[tuple[int, Any]]:
        with self._stand_ins_lock:
            if not self._stand_ins:
                indices = range(min(NUM_REPLACEMENTS, self.num_examples))
                records = self.chosen(indices).as_numpy_iterator()
                self._stand_ins = [(record["index"], record["payload"]) for record in records]
        start = index % len(self._stand_ins)
        yield from self._stand_ins[start:]
        yield from self._stand_ins[:start]

    def _files(self, first: int, stop: int) -> tf.data.Dataset:
        """Tells which records of which files have the numbers from first to stop - 1."""
        begin = np.clip(first - self._before, 0, self._takes)
        end = np.clip(stop - self._before, 0, self._takes)
        kept = end > begin
        files = {
            "path": self._paths,
            "skip": self._skips + begin,
            "take": end - begin,
            "before": self._before + begin,
        }
        return tf.data.Dataset.from_tensor_slices({key: of[kept] for key, of in files.items()})

    def _parsed(
        self, records: tf.data.Dataset, wanted: Mapping[str, str] | None = None
    ) -> tf.data.Dataset:
        """Takes features out of serialised records, images still encoded."""
        wanted = wanted or self._kept
        features = tensorflow_datasets.features.FeaturesDict(
            {name: self.features[name] for name in wanted.values()}
        )
        is_image = tensorflow_datasets.features.Image
        skip = tensorflow_datasets.decode.SkipDecoding()
        decoders = {name: skip for name in features if isinstance(features[name], is_image)}

        def parsed(record: Record) -> dict[str, tf.Tensor]:
            example = features.deserialize_example(record["record"], decoders=decoders)
            return {"index": record["index"], **{key: example[wanted[key]] for key in wanted}}

        return records.map(parsed)


def _records(files: tf.data.Dataset, num_interleaved: int) -> tf.data.Dataset:
    """Reads files: dicts of "index", int64 (), and "record", string ()."""

    def of_file(file: Mapping[str, tf.Tensor]) -> tf.data.Dataset:
        # TensorFlow does not say which file is damaged, so in place of what is missing comes "".
        # It tries a file that is not there again and again: as often as there are numbers at most.
        records = tf.data.TFRecordDataset(file["path"], buffer_size=_BUFFER).skip(file["skip"])
        numbered = tf.data.Dataset.zip(tf.data.Dataset.range(file["take"]), records)
        records = numbered.ignore_errors().map(lambda _, record: record)
        nothing = tf.data.Dataset.from_tensors("").repeat()
        records = records.concatenate(nothing).take(file["take"])
        fault = tf.strings.join(
            [
                "Expected whole records in ",
                file["path"],
                ". Received: a file that is missing, damaged or cut off. Copy it or make it again.",
            ]
        )

        def record(index: tf.Tensor, record: tf.Tensor) -> dict[str, tf.Tensor]:
            with tf.control_dependencies([tf.debugging.Assert(record != "", [fault])]):
                return {"index": index, "record": tf.identity(record)}

        return records.enumerate(file["before"]).map(record)

    return files.interleave(
        of_file,
        cycle_length=num_interleaved,
        block_length=_BLOCK,
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )


def _feature(info: Any, name: str) -> Any:
    is_dict = isinstance(info.features, tensorflow_datasets.features.FeaturesDict)
    return info.features[name] if is_dict and name in info.features else None


def _holds_pixels(feature: Any) -> bool:
    shape = getattr(feature, "shape", None)
    return shape is not None and len(shape) == 3 and feature.np_dtype == np.uint8


def _files_of_split(builder: Any, split: str) -> list[Any]:
    """Lists the files of a split, with how many records of each belong to it."""
    try:
        files = builder.info.splits[split].file_instructions
    except (KeyError, ValueError) as error:
        raise UserError(
            f"Expected a split of {builder.info.full_name}: {', '.join(builder.info.splits)}. "
            f"Received: {split!r}."
        ) from error
    if not sum(file.take for file in files):
        raise UserError(f"Expected images in split {split!r} of {builder.name}. Received: none.")
    return list(files)
