"""What an unfinished pass over images has reached, in files beside the one it will become."""

import dataclasses
import json
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pcd_tf import atomic, records, run_config
from pcd_tf.errors import UserError
from pcd_tf.training import lock

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
        UserError: when the folder is of a pass that differs, naming how, or is of something else;
            when another process is at work in it.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self.folder = folder
        identity = json.loads(json.dumps(identity))
        self._spans = self._find(identity)
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = lock.hold(folder)
        self._spans = self._find(identity)  # another process may have been here meanwhile
        if not self._spans:
            atomic.write_json(folder / run_config.NAME, identity)

    @property
    def num_done(self) -> int:
        """How many images the pass is through with, unreadable ones included."""
        return self._spans[-1][1] if self._spans else 0

    def add(self, stop: int, part: Part) -> None:
        """Keeps the part that reaches from `num_done` to the image before `stop`."""
        span = self.num_done, stop
        with atomic.file(self._file(span)) as temporary, temporary.open("wb") as stream:
            np.savez(stream, **dataclasses.asdict(part))
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
        del self._lock  # NFS keeps what is open under another name, and so the folder
        shutil.rmtree(self.folder)

    def _file(self, span: tuple[int, int]) -> Path:
        return self.folder / f"{span[0]:0{_DIGITS}}-{span[1]:0{_DIGITS}}.npz"

    def _find(self, identity: Mapping[str, Any]) -> list[tuple[int, int]]:
        """Lists the parts that follow on one another from image 0, all of this identity."""
        if run_config.is_new(self.folder):
            return []
        try:
            earlier = records.read(
                self.folder / run_config.NAME, dict[str, Any], what=run_config.WHAT
            )
        except (OSError, UserError) as error:
            raise UserError(
                f"Expected the parts of an unfinished run in {self.folder}. Received: something "
                "else. Remove it, or name another --out."
            ) from error
        spans: list[tuple[int, int]] = []
        for file in sorted(self.folder.glob("[0-9]*-[0-9]*.npz")):
            start, stop = (int(number) for number in file.stem.split("-"))
            if start != (spans[-1][1] if spans else 0):
                break
            spans.append((start, stop))
        if spans:  # else it was refused or ended before its first part, and is begun anew
            remedy = "name another --out, or remove that folder"
            run_config.refuse_changes(self.folder, earlier, identity, remedy)
        return spans
