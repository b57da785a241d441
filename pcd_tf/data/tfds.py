"""`--dataset=tfds`: any TensorFlow Datasets name with an `image` feature, streamed."""

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets
from PIL import Image

from pcd_tf import errors
from pcd_tf.data import _headers
from pcd_tf.data._annotated import Annotated, Annotation
from pcd_tf.data._decode import decode, from_pixels
from pcd_tf.data._order import Record
from pcd_tf.data._source import Source
from pcd_tf.errors import UserError

logger = logging.getLogger(__name__)

NUM_SHUFFLED = 4096  # records held to draw the next one from; files are shuffled as well
NUM_REPLACEMENTS = 16  # images held, once needed, to stand in for unreadable ones
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
    annotations: list[Annotation] = []
    records = images.whole(("objects", "image/id")).as_numpy_iterator()
    bar = _headers.progress(records, "annotations", images.num_examples, unit="image")
    try:
        annotations.extend(_annotation(images, record) for record in bar)
    except tf.errors.OpError as error:
        raise UserError(
            f"Expected {images.num_examples} records in {images.name}. Received: "
            f"{len(annotations)}. {errors.explanation(error) or error.message}"
        ) from error
    return Annotated(images, annotations, class_names=objects["label"].names)


class TfdsSource(Source):
    """A split of a TensorFlow Datasets dataset, read as a stream of encoded images.

    A dataset that is not yet prepared is downloaded and prepared first. Shuffling is that of a
    stream: the order of the files, then among the next 4096 records. One of the first 16 images
    that can be decoded stands in for one that cannot.

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
        self._split = split
        self._builder = _prepared_builder(tfds_name, data_dir, download=download)
        info = self._builder.info
        self.features = info.features
        if info.file_format != tensorflow_datasets.core.FileFormat.TFRECORD:
            raise UserError(
                f"Expected {info.full_name} to be prepared as tfrecord. Received: "
                f"{info.file_format.value}. Prepare it with `tfds build --file_format=tfrecord`."
            )
        feature = _feature(info, "image")
        self._is_encoded = isinstance(feature, tensorflow_datasets.features.Image)
        if not self._is_encoded and not _holds_pixels(feature):
            raise UserError(
                f"Expected a feature `image` with uint8 pixels (H, W, C) in {tfds_name}. "
                f"Received: {info.features}"
            )
        files = _files_of_split(self._builder, split)
        super().__init__(
            f"tfds {info.full_name} {split}",
            sum(file.take for file in files),
            getattr(_feature(info, "label"), "names", None) or (),
        )
        # The number of a record is the number of those before its file, and its place in the file.
        self._before = np.cumsum([0, *(file.take for file in files)])[:-1]
        self._file_names = [file.basename() for file in files]
        self._shifts = self._before - [file.skip for file in files]
        self._first_index = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                self._file_names, tf.constant(self._shifts, tf.int64)
            ),
            default_value=0,
        )
        self._has_labels = bool(self.class_names)
        self._stand_ins: list[tuple[int, Any]] = []
        self._stand_ins_lock = threading.Lock()

    @property
    def is_encoded(self) -> bool:
        return self._is_encoded

    def encoded(self, record: Record) -> tf.Tensor:
        return record["payload"]

    def shuffled(self, seed: int, start: int = 0) -> tf.data.Dataset:
        first_epoch, num_done = divmod(start, self.num_examples)

        def epoch_records(epoch: tf.Tensor) -> tf.data.Dataset:
            # For this graph alone: the order must not depend on what tf.random.set_seed was given.
            tf.compat.v1.set_random_seed(None)
            shuffle_seed = tf.random.stateless_uniform(
                (), seed=[seed, epoch], minval=0, maxval=2**31 - 1, dtype=tf.int64
            )
            stream = self._stream(shuffle_files=True, shuffle_seed=shuffle_seed)
            stream = stream.shuffle(NUM_SHUFFLED, shuffle_seed, reshuffle_each_iteration=False)
            skipped = tf.where(epoch == first_epoch, tf.cast(num_done, tf.int64), 0)
            return stream.skip(skipped).map(lambda record: {**record, "epoch": epoch})

        return tf.data.Dataset.counter(first_epoch).flat_map(epoch_records)

    def whole(self, features: Sequence[str] = ()) -> tf.data.Dataset:
        """Gives all records in order, with those of some features that the dataset has."""
        wanted = [name for name in features if _feature(self._builder.info, name) is not None]
        return self._stream(shuffle_files=False, features=wanted)

    def chosen(self, indices: Sequence[int]) -> tf.data.Dataset:
        wanted = np.asarray(indices, np.int64)
        first, last = (wanted.min(), wanted.max()) if wanted.size else (0, -1)
        stream = self.whole(["label"] if self._has_labels else [])
        stream = stream.skip(first).take(last - first + 1)
        if wanted.size <= last - first:
            stream = stream.filter(lambda record: tf.reduce_any(record["index"] == wanted))
        if self._has_labels:
            return stream
        return stream.map(lambda record: {**record, "label": tf.constant(-1, tf.int64)})

    def image_name(self, index: int) -> str:
        file = int(np.searchsorted(self._before, index, side="right")) - 1
        return f"{self._file_names[file]}__{index - self._shifts[file]}"

    def examples_to_show(self, count: int) -> list[int]:
        """Chooses the first ones: others of a stream cost reading all before them."""
        return list(range(min(count, self.num_examples)))

    def open(
        self,
        index: int,
        payload: bytes | np.ndarray,
        *,
        min_pixels: int | None = None,
    ) -> Image.Image:
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

    def _stream(
        self,
        *,
        shuffle_files: bool,
        shuffle_seed: tf.Tensor | None = None,
        features: Sequence[str] = (),
    ) -> tf.data.Dataset:
        """Reads the split once, in an order that is the same for the same seed."""
        decoder = tensorflow_datasets.decode.SkipDecoding() if self._is_encoded else None
        dataset = self._builder.as_dataset(
            split=self._split,
            shuffle_files=shuffle_files,
            decoders=tensorflow_datasets.decode.PartialDecoding(
                dict.fromkeys(["image", *features], True),
                decoders={"image": decoder} if decoder else None,
            ),
            read_config=tensorflow_datasets.ReadConfig(
                shuffle_seed=shuffle_seed,
                shuffle_reshuffle_each_iteration=False,
                add_tfds_id=True,
                try_autocache=False,
                interleave_cycle_length=16 if shuffle_files else 1,
                enable_ordering_guard=False,
            ),
        )
        return dataset.map(self._record)

    def _record(self, example: dict[str, Any]) -> dict[str, Any]:
        """Turns TFDS's id, FILE__PLACE, into a number."""
        example = dict(example)
        tfds_id, payload = example.pop("tfds_id"), example.pop("image")
        file = tf.strings.regex_replace(tfds_id, r"__\d+$", "")
        place = tf.strings.regex_replace(tfds_id, r"^.*__", "")
        index = self._first_index.lookup(file) + tf.strings.to_number(place, tf.int64)
        return {"index": index, "payload": payload, **example}


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
