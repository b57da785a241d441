"""The student of a finished distill run, ready to be exported."""

import dataclasses
import functools
import os
from pathlib import Path
from typing import Annotated, Any

import keras
import msgspec
import numpy as np

from pcd_tf import records, run_config
from pcd_tf.errors import UserError
from pcd_tf.students import _directory, _pyramid
from pcd_tf.weights import keras_file

_Positive = Annotated[float, msgspec.Meta(gt=0)]


@dataclasses.dataclass(frozen=True)
class Student:
    """A distilled backbone, what its images are normalised with, and where it is from.

    Args:
        backbone: float32, normalised images (B, H, W, 3) -> (B, h, w, C).
        mean: per channel, of RGB images in 0..255.
        std: likewise.
        image_size: side of the square views it was distilled on, pixels.
        source: the run it is from: workdir, settings, versions, revision.
    """

    backbone: keras.Model
    mean: tuple[float, ...]
    std: tuple[float, ...]
    image_size: int
    source: dict[str, Any]

    def outputs(self, images: Any) -> dict[str, Any]:
        """Computes what every export gives, for images (B, H, W, 3) in 0..255 of any number type.

        Returns:
            float32 tensors: `embedding` (B, C), the mean over the last map's pixels; `feature_map`
            (B, h, w, C); and the levels of the pyramid, `P2` (B, H / 4, W / 4, C2) up to `P5`,
            which for a ResNet is the last map again.
        """
        mean, std = np.array(self.mean, "float32"), np.array(self.std, "float32")
        maps = self._network((keras.ops.cast(images, "float32") - mean) / std, training=False)
        return {"embedding": keras.ops.mean(maps["feature_map"], axis=(1, 2)), **maps}

    def description(self) -> dict[str, Any]:
        """Describes the student in JSON's types, for those who use an export of it."""
        levels = {
            level: {"stride": 2 ** int(level[1:]), "channels": output.shape[-1]}
            for level, output in self._levels.items()
        }
        return {
            "mean": self.mean,
            "std": self.std,
            "image_size": self.image_size,
            "channels": self.backbone.output_shape[-1],
            "levels": levels,
            "source": self.source,
        }

    @functools.cached_property
    def _levels(self) -> dict[str, keras.KerasTensor]:
        return _pyramid.pyramid(self.backbone)

    @functools.cached_property
    def _network(self) -> keras.Model:
        outputs = {"feature_map": self.backbone.output, **self._levels}
        return keras.Model(self.backbone.input, outputs)


class _Settings(msgspec.Struct):
    """What is read of a distill run's settings."""

    image_size: Annotated[int, msgspec.Meta(ge=1)]
    student_model: str | None = None


class _Distilled(msgspec.Struct):
    """What is read of a distill run's config.json."""

    mean: tuple[float, float, float]
    std: tuple[_Positive, _Positive, _Positive]
    settings: _Settings


def read(workdir: str | os.PathLike[str]) -> Student:
    """Reads the student of a distill run, from `config.json` and `student/` alone.

    It runs no code that a file names: where a user's own student has layers of the user's own, the
    caller imports their module before.

    Raises:
        UserError: when there is no such run, it is another job's, it is not finished, or Keras
            does not know a class of the student yet.
    """
    run, distilled = _read_config(Path(workdir))
    preset = Path(workdir) / "student"
    if not preset.is_dir():
        raise UserError(
            f"Expected a finished distill run. Received: {workdir}, which has no student/ yet: "
            "run the job distill with this workdir to its end, then export again."
        )
    return Student(
        backbone=_load(preset, distilled.settings.student_model or ""),
        mean=distilled.mean,
        std=distilled.std,
        image_size=distilled.settings.image_size,
        source={
            "workdir": str(workdir),
            "job": run.job,
            "settings": run.settings,
            **{name: fact for name, fact in run.facts.items() if name not in ("mean", "std")},
        },
    )


def _load(preset: Path, student_model: str) -> keras.Model:
    try:
        return _directory.load(preset)
    except ValueError as error:
        module, separator, _ = student_model.partition(":")
        if not separator or not keras_file.is_of_unknown_class(error):
            raise
        raise UserError(
            f"Expected a student of classes that Keras knows. Received: {preset}, made by "
            f"{student_model}, with a class that is not registered yet. Nothing is imported "
            f"because a file names it; if you trust that module, import it before: in Python "
            f"`import {module}`; on the command line, in place of `python main.py JOB ...`, "
            f"`python -c 'import sys, {module}, main; sys.exit(main.main(sys.argv[1:]))' JOB ...`."
        ) from error


def _read_config(workdir: Path) -> tuple[run_config.RunConfig, _Distilled]:
    path = workdir / run_config.NAME
    if not path.is_file():
        what = f"which has no {path.name}" if workdir.is_dir() else "which is no directory"
        raise UserError(f"Expected the workdir of a distill run. Received: {workdir}, {what}.")
    run = run_config.read(workdir)
    if run.job != "distill":
        raise UserError(
            f"Expected the workdir of a distill run. Received: {workdir}, of the job {run.job!r}: "
            "export takes the students of distill."
        )
    found = {**run.facts, "settings": run.settings}
    return run, records.convert(found, _Distilled, what=run_config.WHAT, origin=path)
