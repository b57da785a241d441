"""The settings of `distill`: a student learns from a teacher, pixel by pixel."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from pcd_tf.configs.training import TrainingConfig
from pcd_tf.settings import Conflict, setting, with_default


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(TrainingConfig):
    """Settings of a distillation. The defaults are the published recipe.

    Source: Huang and Guo, "Pixel-Wise Contrastive Distillation", ICCV 2023, arXiv 2211.00218.

    Example:
        Config(workdir="runs/student", teacher_checkpoint="runs/teacher/teacher").validate()
    """

    teacher_checkpoint: str = setting(
        "",
        help="Directory of the teacher: what pretrain wrote, WORKDIR/teacher.",
        group="model",
        source="[ours]",
        unit="directory",
    )
    teacher: str | None = setting(
        None,
        help="Name of the teacher that the checkpoint must hold, as a check.",
        group="model",
        source="[ours]",
        choices_in="pcd_tf.teachers",
        when_none="whatever the checkpoint says",
    )
    student: str = setting(
        "resnet18",
        help="Which network learns.",
        group="model",
        source="[paper]",
        choices_in="pcd_tf.students",
    )
    mhsa: bool = setting(
        True,
        help="Plugs self-attention over the pixels between the student's backbone and its heads; "
        "only the backbone is kept in the end.",
        group="model",
        source="[paper]",
    )
    pairing: str = setting(
        "same",
        help="Which teacher pixel a student pixel learns from. same: the same place in the same "
        "view; aligned: the same place of the image in the other view; index: the same "
        "row and column of the other view, as the authors' code does, to compare with.",
        group="model",
        source="[ours]",
        choices=("same", "aligned", "index"),
    )
    queue_size: int = setting(
        65536,
        help="Negatives kept: averaged teacher maps of earlier images.",
        group="model",
        source="[code]",
        unit="vectors",
        minimum=1,
    )
    temperature: float = setting(
        0.2,
        help="Temperature of the contrastive loss.",
        group="model",
        source="[paper]",
        minimum=0.025,
        reason="Below, the streamed loss underflows in float32.",
    )
    global_batch_size: int = with_default(
        TrainingConfig, "global_batch_size", 1024, source="[code]"
    )
    learning_rate: float = with_default(TrainingConfig, "learning_rate", 1.0, source="[code]")
    weight_decay: float = with_default(TrainingConfig, "weight_decay", 1e-5, source="[code]")

    def conflicts(self) -> Iterator[Conflict]:
        yield from super().conflicts()
        directory = Path(self.teacher_checkpoint)
        if not (directory / "teacher.json").is_file():
            text = f"expected a directory with teacher.json. Received: {self.teacher_checkpoint!r}."
            if (directory / "teacher" / "teacher.json").is_file():
                text += f" Did you mean {str(directory / 'teacher')!r}?"
            else:
                text += " Make a teacher with main.py pretrain; it is then in WORKDIR/teacher."
            yield ("teacher_checkpoint",), text
