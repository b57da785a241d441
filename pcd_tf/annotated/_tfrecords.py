"""TFRecord files whose records are within reach by number."""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pcd_tf.errors import UserError

# A record is its length, uint64, and 4 bytes to check it, the bytes, and 4 more to check them
# (tensorflow/core/lib/io/record_writer.h).
LENGTH = struct.Struct("<Q")
NUM_BEFORE = 12  # bytes
NUM_AFTER = 4


class Records:
    """The records of some files, one after another; only their places are held in memory.

    Args:
        instructions: TFDS's file instructions: `filename`, and how many records to `skip` and to
            `take`.

    Raises:
        UserError: when a file ends before its last record.

    Example:
        Records(builder.info.splits["train"].file_instructions)[7]  # bytes
    """

    def __init__(self, instructions: Sequence[Any]) -> None:
        self._files = [Path(instruction.filename) for instruction in instructions]
        places = [
            _places(file, instruction.skip + instruction.take)[instruction.skip :]
            for file, instruction in zip(self._files, instructions, strict=True)
        ]
        self._places = np.concatenate(places)  # (n, 2), start and length in bytes
        self._file = np.repeat(np.arange(len(places)), [len(of_file) for of_file in places])

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> bytes:
        start, length = self._places[index].tolist()
        with self._files[self._file[index]].open("rb") as file:
            file.seek(start)
            return file.read(length)


def _places(path: Path, number: int) -> np.ndarray:
    """Finds the start and length of the first records of a file, int64 (n, 2), in bytes."""
    places = np.empty((number, 2), np.int64)
    num_bytes = path.stat().st_size
    end = 0
    with path.open("rb", buffering=0) as file:  # no reading ahead: it would be for nothing
        for place in range(number):
            file.seek(end)
            head = file.read(LENGTH.size)
            length = LENGTH.unpack(head)[0] if len(head) == LENGTH.size else num_bytes
            start = end + NUM_BEFORE
            end = start + length + NUM_AFTER
            if end > num_bytes:
                raise UserError(
                    f"Expected {number} records in {path}. Received: {place}, and a part of one: "
                    "the file is cut off. Prepare the dataset again."
                )
            places[place] = start, length
    return places
