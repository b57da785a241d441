"""The settings of `embed`: images in, one vector for each out."""

import dataclasses
import importlib
from collections.abc import Iterator
from pathlib import Path

from pcd_tf.configs._bounds import BATCH, SIDE
from pcd_tf.configs._images import ImagesConfig
from pcd_tf.configs._outputs import problem_of_output
from pcd_tf.settings import Conflict, setting, with_default

SUFFIXES = (".npz", ".parquet")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(ImagesConfig):
    """Settings of an embedding.

    Example:
        Config(model="runs/student", data_dir="PHOTOS", out="photos.npz").validate()
    """

    dataset: str = with_default(ImagesConfig, "dataset", "folder", source="[ours]")
    split: str | None = setting(
        None,
        help="Which split of the images to read, with tfds and synthetic.",
        group="data",
        source="[ours]",
        when_none="train, where there are splits",
    )
    image_size: int | None = setting(
        None,
        help="Height and width that the central square of each image is resized to.",
        group="data",
        source="[ours]",
        unit="pixels",
        minimum=32,
        **SIDE,
        when_none="what an export is fixed to, or the student was trained on; 224 for a teacher",
    )
    model: str = setting(
        "",
        help="What makes the embeddings: the workdir of a finished distill run, a directory that "
        "export wrote as saved_model, or a teacher's directory.",
        group="model",
        source="[ours]",
        unit="directory",
    )
    batch_size: int | None = setting(
        None,
        help="Images computed at once.",
        group="run",
        source="[ours]",
        unit="images",
        **BATCH,
        when_none="64, or what an export is fixed to",
    )
    out: str = setting(
        "",
        help="File to write: NAME.npz or NAME.parquet. An unfinished run keeps what it has beside "
        "it, in OUT.partial, and goes on when the same command is given again. That notices images "
        "that came or went, not files whose content changed: leave them as they are until the end.",
        group="run",
        source="[ours]",
        unit="path",
    )

    def conflicts(self) -> Iterator[Conflict]:
        yield from super().conflicts()
        if self.split is not None and self.dataset == "folder":
            yield ("split", "dataset"), "dataset=folder has no splits. Leave it out."
        if not Path(self.model).is_dir():
            yield ("model",), f"expected an existing directory. Received: {self.model!r}."
        out = Path(self.out)
        if out.suffix not in SUFFIXES:
            yield (
                ("out",),
                f"expected a name that ends in {' or '.join(SUFFIXES)}. Received: {out}.",
            )
        elif out.exists():
            yield ("out",), f"expected a new file. Received: {out}, which exists: remove it first."
        elif problem := problem_of_output(out.parent):
            yield ("out",), problem
        elif out.suffix == ".parquet" and (problem := _problem_of_pyarrow()):
            yield (
                ("out",),
                'expected pyarrow for Parquet files: pip install "pyarrow<26", or write an .npz. '
                f"Received: {problem}.",
            )


def _problem_of_pyarrow() -> str | None:
    """Says why pyarrow cannot be used; it may be there and yet want another NumPy."""
    try:
        importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        return str(error)
    return None
