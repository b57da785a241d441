"""What an unfinished pass over images has reached, in files beside the one it will become."""

import dataclasses
import json
import os
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pcd_tf.errors import UserError

_CONFIG = "config.json"
_DIGITS = 12  # of an image's number in a file name, so that names sort as numbers do


@dataclasses.dataclass(frozen=True)
class Part:
    """The embeddings of a run of images: n readable ones, C channels.

    Args:
        index: int64 (n,), which images of the source.
        embeddings: float32 (n, C).
        labels: int64 (n,), -1 where there is none.
    """

    index: npt.NDArray[np.int64]
    embeddings: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]


class Parts:
    """The finished parts of a pass, each written whole or not at all.

    Args:
        folder: where they lie; made when it is not there, or when it is still empty.
        identity: what the embeddings depend on, JSON values; parts of another pass are refused.

    Raises:
        UserError: when the folder is of a pass that differs, naming how, or is of something else.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self.folder = folder
        identity = json.loads(json.dumps(identity))
        if _is_new(folder):
            folder.mkdir(parents=True, exist_ok=True)
            _write(folder / _CONFIG, json.dumps(identity, indent=2).encode())
        else:
            self._refuse_changes(identity)
        self._spans = self._find()

    @property
    def num_done(self) -> int:
        """How many images the pass is through with, unreadable ones included."""
        return self._spans[-1][1] if self._spans else 0

    def add(self, stop: int, part: Part) -> None:
        """Keeps the part that reaches from `num_done` to the image before `stop`."""
        span = self.num_done, stop
        file = self._file(span)
        temporary = _temporary(file)
        with temporary.open("wb") as stream:
            np.savez(stream, **dataclasses.asdict(part))
            _flush(stream)
        temporary.replace(file)
        self._spans.append(span)

    def __iter__(self) -> Iterator[Part]:
        for span in self._spans:
            file = self._file(span)
            try:
                with np.load(file) as arrays:
                    part = Part(**arrays)
            except (OSError, EOFError, ValueError, TypeError, zipfile.BadZipFile) as error:
                raise UserError(
                    f"Expected a part of the embeddings. Received: {file}, which is damaged "
                    f"({error}). Remove it and give the same command: those after it are made anew."
                ) from error
            yield part

    def remove(self) -> None:
        """Removes them all: the pass is finished."""
        shutil.rmtree(self.folder)

    def _file(self, span: tuple[int, int]) -> Path:
        return self.folder / f"{span[0]:0{_DIGITS}}-{span[1]:0{_DIGITS}}.npz"

    def _find(self) -> list[tuple[int, int]]:
        """Lists the parts that follow on one another from image 0."""
        spans: list[tuple[int, int]] = []
        for file in sorted(self.folder.glob("[0-9]*-[0-9]*.npz")):
            start, stop = (int(number) for number in file.stem.split("-"))
            if start != (spans[-1][1] if spans else 0):
                break
            spans.append((start, stop))
        return spans

    def _refuse_changes(self, identity: Mapping[str, Any]) -> None:
        try:
            earlier = dict(json.loads((self.folder / _CONFIG).read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise UserError(
                f"Expected the parts of an unfinished run in {self.folder}. Received: something "
                "else. Remove it, or name another --out."
            ) from error
        different = [
            f"{name}: {earlier.get(name)!r} there, {value!r} now"
            for name, value in identity.items()
            if earlier.get(name) != value
        ]
        if different:
            raise UserError(
                f"The unfinished run in {self.folder} is another one; it cannot be resumed:\n  "
                + "\n  ".join(different)
                + "\nMake these the same, name another --out, or remove that folder."
            )


def _is_new(folder: Path) -> bool:
    """Tells whether there is nothing, or what a kill before the identity was written left."""
    if not folder.is_dir():
        return not folder.exists()
    return all(path == _temporary(folder / _CONFIG) for path in folder.iterdir())


def _temporary(file: Path) -> Path:
    return file.with_name(f".{file.name}")


def _write(file: Path, content: bytes) -> None:
    temporary = _temporary(file)
    with temporary.open("wb") as stream:
        stream.write(content)
        _flush(stream)
    temporary.replace(file)


def _flush(stream: Any) -> None:
    """Brings a file to the disk, so that a name never stands before its content."""
    stream.flush()
    os.fsync(stream.fileno())
