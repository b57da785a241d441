"""What every source of images offers, whichever place the images come from."""

import abc
import itertools
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from pcd_tf.data import _order
from pcd_tf.data._decode import DecodeError
from pcd_tf.errors import UserError

logger = logging.getLogger(__name__)


class Source(abc.ABC):
    """A finite set of images, numbered from 0, each within reach by its number.

    A record is a dict of what is known of an image before it is read: "index", int64 (), which one,
    and where images come as a stream, "payload", what `open` needs to make it.

    Args:
        name: what to call the source in messages.
        num_examples: how many images it has, unreadable ones included.
        class_names: the classes, where they are known; labels are never required.
        labels: int64 (n,), the class of each image; default: -1, not known.
        why_no_classes: why what looks like classes at first sight is not taken for them.
        left_out: how many files are not read as images, by kind.
    """

    def __init__(
        self,
        name: str,
        num_examples: int,
        class_names: Sequence[str] = (),
        *,
        labels: np.ndarray | None = None,
        why_no_classes: str = "",
        left_out: Mapping[str, int] | None = None,
    ) -> None:
        self.name = name
        self.num_examples = num_examples
        self.class_names = tuple(class_names)
        self.labels = np.full(num_examples, -1) if labels is None else labels
        self.why_no_classes = why_no_classes
        self.left_out = dict(left_out or {})
        self._unreadable: dict[int, str] = {}  # why, by index

    @abc.abstractmethod
    def image_name(self, index: int) -> str:
        """Names an image: for a file, its path in the source."""

    @abc.abstractmethod
    def open(self, index: int, payload: Any, *, min_pixels: int | None = None) -> Image.Image:
        """Makes one upright RGB image; see `decode` for `min_pixels`. Raises DecodeError."""

    @property
    def is_encoded(self) -> bool:
        """Whether images are files of some format, or bytes of one; some are drawn."""
        return False

    @property
    def is_native(self) -> bool:
        """Whether every image was seen to be one that TensorFlow decodes: none needs Python."""
        return False

    def encoded(self, record: _order.Record) -> tf.Tensor:
        """Gives the bytes of an image's file in a graph, string (), where `is_encoded`."""
        raise TypeError(f"Expected images of files. Received: {self.name}, whose images are drawn.")

    def shuffled(self, seed: int, start: int = 0) -> tf.data.Dataset:
        """Gives the records of one epoch after another, each with its "epoch", without end.

        Args:
            seed: with the epoch, what the order depends on.
            start: how many records to leave out.
        """
        return _order.shuffled(self.num_examples, seed, start)

    def chosen(self, indices: Sequence[int]) -> tf.data.Dataset:
        """Gives the records of chosen images, without shuffling; a stream gives them as they come.

        Each has a "label" as well, int64 (): the image's class, an index into `class_names`; -1
        where it is not known or an image has no single class.
        """
        order = np.asarray(indices, np.int64)
        return tf.data.Dataset.from_tensor_slices({"index": order, "label": self.labels[order]})

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

    def open_or_skip(
        self, index: int, payload: Any, *, min_pixels: int | None = None
    ) -> Image.Image | None:
        """Makes one image; None when it cannot be decoded, which is logged and counted once."""
        try:
            return self.open(index, payload, min_pixels=min_pixels)
        except DecodeError as error:
            fault = str(error)
            if self._unreadable.setdefault(index, fault) is fault:  # whichever thread came first
                logger.warning("Skipped image %d of %s. %s", index, self.name, fault)
            return None

    def read(
        self, index: int, payload: Any, *, min_pixels: int | None = None
    ) -> tuple[int, Image.Image]:
        """Makes an image, or that of the first readable replacement, so that no position is lost.

        Returns:
            the index of the image that was made, and the image.

        Raises:
            DecodeError: when neither the image nor any replacement can be decoded.
        """
        for candidate, its_payload in itertools.chain([(index, payload)], self.replacements(index)):
            if candidate not in self._unreadable:
                image = self.open_or_skip(candidate, its_payload, min_pixels=min_pixels)
                if image is not None:
                    return candidate, image
        raise DecodeError(
            f"Expected an image that can be decoded among the {self.num_examples} of {self.name}. "
            f"Received: {self.num_skipped} unreadable ones and none to take their place. "
            f"{self._unreadable[index]}"
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
        (record,) = self.chosen([0]).as_numpy_iterator()
        self.read(0, record.get("payload"))


def noted(*sources: Source | None) -> str:
    """Writes the notes of sources for the start of a job, each on a new line."""
    notes = [f"{source.name}: {note}" for source in sources if source for note in source.notes]
    return "".join(f"\n  note      {note}" for note in dict.fromkeys(notes))
