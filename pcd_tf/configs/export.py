"""The settings of `export`: a distilled student in a format for elsewhere."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from pcd_tf.settings import Conflict, Settings, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """Settings of an export.

    Example:
        Config(workdir="runs/student", out="runs/student/saved_model").validate()
    """

    workdir: str = setting(
        "",
        help="The workdir of a finished distill run.",
        group="run",
        source="[ours]",
        unit="directory",
    )
    format: str = setting(
        "saved_model",
        help="What to write. saved_model: for TensorFlow and its serving.",
        group="run",
        source="[ours]",
        choices_in="export",
    )
    out: str = setting(
        "",
        help="Where to write it: a directory that is new or empty.",
        group="run",
        source="[ours]",
        unit="directory",
    )

    def conflicts(self) -> Iterator[Conflict]:
        workdir, out = Path(self.workdir), Path(self.out)
        missing = [name for name in ("config.json", "student") if not (workdir / name).exists()]
        if missing:
            yield (
                ("workdir",),
                "expected the workdir of a finished distill run. "
                f"Received: {self.workdir!r}, without {' and '.join(missing)}.",
            )
        if out.is_file() or (out.is_dir() and any(out.iterdir())):
            yield ("out",), f"expected a directory that is new or empty. Received: {self.out!r}."
