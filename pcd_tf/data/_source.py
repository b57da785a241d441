"""What every source of images offers, whichever place the images come from."""

import abc
import itertools
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from pcd_tf.data._decode import DecodeError
from pcd_tf.data._python_function import python_function
from pcd_tf.errors import UserError

logger = logging.getLogger(__name__)


class Source(abc.ABC):
    """A finite set of images, numbered from 0, in a new order each epoch or in their own.

    A record is a dict: "index", int64 (), which image, and "payload", what `open` needs to make it:
    encoded bytes in a stream, nothing but the index where images can be reached by number.
    The order of an epoch depends on the seed and the epoch only.

    Args:
        name: what to call the source in messages.
        num_examples: how many images it has, unreadable ones included.
        class_names: the classes, where they are known; labels are never required.
        why_no_classes: why what looks like classes at first sight is not taken for them.
        left_out: how many files are not read as images, by kind.
    """

    def __init__(
        self,
        name: str,
        num_examples: int,
        class_names: Sequence[str] = (),
        *,
        why_no_classes: str = "",
        left_out: Mapping[str, int] | None = None,
    ) -> None:
        self.name = name
        self.num_examples = num_examples
        self.class_names = tuple(class_names)
        self.why_no_classes = why_no_classes
        self.left_out = dict(left_out or {})
        self._unreadable: set[int] = set()
        self._lock = threading.Lock()

    @abc.abstractmethod
    def records(self, seed: int, epoch: int | tf.Tensor) -> tf.data.Dataset:
        """Gives the `num_examples` records of one epoch; `epoch` may be an int64 tensor."""

    @abc.abstractmethod
    def records_in_order(self, start: int = 0) -> tf.data.Dataset:
        """Gives the records from image `start` to the last one, in the order of their numbers.

        Each has a "label" as well, int64 (): the image's class, an index into `class_names`; -1
        where it is not known or an image has no single class.
        """

    @abc.abstractmethod
    def image_name(self, index: int) -> str:
        """Names an image: for a file, its path in the source."""

    @abc.abstractmethod
    def payloads(self, indices: Sequence[int]) -> list[Any]:
        """Gives the payloads of chosen images, without shuffling."""

    @abc.abstractmethod
    def open(self, index: int, payload: Any, *, min_pixels: int | None = None) -> Image.Image:
        """Makes one upright RGB image; see `decode` for `min_pixels`. Raises DecodeError."""

    def examples_to_show(self, count: int) -> list[int]:
        """Chooses at most `count` indices for pictures, spread evenly over the source."""
        count = min(count, self.num_examples)
        return [place * self.num_examples // count for place in range(count)]

    def replacements(self, index: int) -> Iterable[tuple[int, Any]]:
        """Gives (index, payload) to try, in this order, in place of an unreadable image."""
        del index
        return ()

    @property
    def notes(self) -> list[str]:
        """Says what of the images may be other than their user thinks, a line each."""
        counts = ", ".join(f"{count} {kind}" for kind, count in self.left_out.items())
        return [*filter(None, [counts and f"left out: {counts}", self.why_no_classes])]

    @property
    def num_skipped(self) -> int:
        """How many unreadable images were met so far."""
        return len(self._unreadable)

    def open_or_skip(self, index: int, payload: Any) -> Image.Image | None:
        """Makes one image; None when it cannot be decoded, which is logged and counted once."""
        try:
            return self.open(index, payload)
        except DecodeError as error:
            self._skip(index, error)
            return None

    def read(
        self,
        index: int,
        payload: Any,
        *,
        min_pixels: int | None = None,
    ) -> tuple[int, Image.Image]:
        """Makes an image, or that of the first readable replacement, so that no position is lost.

        An unreadable image is logged once, by name, and counted in `num_skipped`.

        Returns:
            the index of the image that was made, and the image.

        Raises:
            DecodeError: when neither the image nor any replacement can be decoded.
        """
        first_error: DecodeError | None = None
        for candidate, its_payload in self._candidates(index, payload):
            if candidate in self._unreadable:
                continue
            try:
                return candidate, self.open(candidate, its_payload, min_pixels=min_pixels)
            except DecodeError as error:
                first_error = first_error or error
                self._skip(candidate, error)
        raise DecodeError(
            f"Expected an image that can be decoded among the {self.num_examples} of {self.name}. "
            f"Received: {self.num_skipped} unreadable ones and none to take their place. "
            f"{first_error or 'The log names them'}"
        )

    def check(self, global_batch_size: int) -> None:
        """Fails early: before anything long, a job asks whether training could start at all.

        Raises:
            UserError: when there are fewer images than one batch needs.
            DecodeError: when no image can be decoded.
        """
        if self.num_examples < global_batch_size:
            raise UserError(
                f"Expected at least one batch of images, global_batch_size={global_batch_size}, "
                f"in {self.name}. Received: {self.num_examples}. "
                "Add images or use a smaller global batch."
            )
        self.read(0, self.payloads([0])[0])

    def _candidates(self, index: int, payload: Any) -> Iterator[tuple[int, Any]]:
        return itertools.chain([(index, payload)], self.replacements(index))

    def _skip(self, index: int, error: DecodeError) -> None:
        with self._lock:
            if index in self._unreadable:
                return
            self._unreadable.add(index)
        logger.warning("Skipped image %d of %s. %s", index, self.name, error)


def noted(*sources: Source | None) -> str:
    """Writes the notes of sources for the start of a job, each on a new line."""
    notes = [f"{source.name}: {note}" for source in sources if source for note in source.notes]
    return "".join(f"\n  note      {note}" for note in dict.fromkeys(notes))


def shuffled_indices(num_examples: int, seed: int, epoch: int | tf.Tensor) -> tf.data.Dataset:
    """Gives the records of an epoch of a source whose images can be reached by number."""

    def permutation(epoch: np.ndarray) -> np.ndarray:
        return np.random.default_rng([seed, int(epoch)]).permutation(num_examples)

    order = python_function(permutation, [tf.cast(epoch, tf.int64)], tf.int64)
    order = tf.ensure_shape(order, (num_examples,))
    return tf.data.Dataset.from_tensor_slices({"index": order, "payload": order})


def epochs(
    records: Callable[[tf.Tensor], tf.data.Dataset], num_examples: int, *, start: int = 0
) -> tf.data.Dataset:
    """Gives the records of one epoch after another, without end; each has its "epoch" as well.

    Args:
        records: gives the `num_examples` records of an epoch, int64 ().
        num_examples: of an epoch.
        start: how many records to leave out.
    """
    first_epoch, num_done = divmod(start, num_examples)

    def epoch_records(epoch: tf.Tensor) -> tf.data.Dataset:
        skipped = tf.where(epoch == first_epoch, tf.cast(num_done, tf.int64), 0)
        return records(epoch).skip(skipped).map(lambda record: {**record, "epoch": epoch})

    return tf.data.Dataset.counter(first_epoch).flat_map(epoch_records)


def indices_in_order(start: int, labels: np.ndarray) -> tf.data.Dataset:
    """Gives the records from `start` on, of a source whose images can be reached by number.

    Args:
        start: the first one.
        labels: int64 (n,), of all images of the source.
    """
    order = np.arange(start, len(labels))
    records = {"index": order, "payload": order, "label": labels[start:]}
    return tf.data.Dataset.from_tensor_slices(records)
