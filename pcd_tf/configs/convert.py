"""The settings of `convert`: a published checkpoint in, a teacher's directory out."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from pcd_tf.configs._outputs import problem_of_output
from pcd_tf.configs._teacher import TeacherConfig
from pcd_tf.settings import Conflict, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(TeacherConfig):
    """Settings of a conversion.

    Example:
        Config(teacher="moco_v3_resnet50", checkpoint="r-50-1000ep.pth.tar", workdir="runs/moco")
    """

    teacher: str = setting(
        "",
        help="Which teacher the checkpoint holds.",
        group="model",
        source="[ours]",
        choices_in="pcd_tf.teachers",
    )
    checkpoint: str = setting(
        "",
        help="The published file: .pth, .pth.tar, .pt, .ckpt or .bin, which need PyTorch and of "
        "which no code is run; .safetensors or .npz. For dinov2 and dinov3, a KerasHub preset: its "
        "name or its directory.",
        group="model",
        source="[ours]",
        unit="name or path",
    )
    workdir: str = setting(
        "",
        help="Where the teacher is written, as WORKDIR/teacher: a directory that is new or empty.",
        group="run",
        source="[ours]",
        unit="directory",
    )

    def conflicts(self) -> Iterator[Conflict]:
        yield from super().conflicts()
        if (Path(self.checkpoint) / "teacher.json").is_file():
            yield (
                ("checkpoint",),
                f"expected a file to convert. Received: {self.checkpoint!r}, a teacher already: "
                "hand it to distill as --teacher_checkpoint.",
            )
        if problem := problem_of_output(self.workdir):
            yield ("workdir",), problem
