"""The settings of `distill`: a student learns from a teacher, pixel by pixel."""

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pcd_tf import teachers
from pcd_tf.configs._bounds import EPOCHS
from pcd_tf.configs._teacher import TeacherConfig
from pcd_tf.configs.training import TrainingConfig
from pcd_tf.settings import Conflict, setting, with_default

_LEVEL = r"P\d=[^,=]+"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(TeacherConfig, TrainingConfig):
    """Settings of a distillation. The defaults are the published recipe.

    Source: Huang and Guo, "Pixel-Wise Contrastive Distillation", ICCV 2023, arXiv 2211.00218.

    Example:
        Config(workdir="runs/student", teacher_checkpoint="runs/teacher/teacher").validate()
    """

    teacher_checkpoint: str = setting(
        "",
        help="Directory of the teacher: what pretrain or convert wrote, WORKDIR/teacher. Or, with "
        "--teacher, what convert takes as --checkpoint.",
        group="model",
        source="[ours]",
        unit="name or path",
    )
    teacher: str | None = setting(
        None,
        help="Name of the teacher that the checkpoint must hold: a check of a teacher's directory, "
        "needed for a file.",
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
    student_model: str | None = setting(
        None,
        help="The network of --student=custom: FILE.keras, or package.module:function, which is "
        "called without arguments and returns a keras.Model. It takes images that are normalised "
        "already; it is cut behind its last map.",
        group="model",
        source="[ours]",
        unit="name or path",
        when_none="none",
    )
    student_pyramid: str | None = setting(
        None,
        help="The layers of --student=custom whose maps are its feature pyramid, "
        "P3=LAYER,P4=LAYER for strides 8 and 16; the coarsest is distilled, what follows it left "
        "out.",
        group="model",
        source="[ours]",
        when_none="the last map at each stride",
    )
    student_init: str = setting(
        "random",
        help="Weights to start from: random, or a PATH: the workdir of a distill run, a KerasHub "
        "preset, a .keras or .weights.h5 file, or for a ResNet a checkpoint in torchvision's "
        "layout (.pth, .pt, .ckpt, .bin, .safetensors, .npz).",
        group="model",
        source="[ours]",
        unit="name or path",
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
    objective: str = setting(
        "pixel_contrastive",
        help="What the student is trained for. pixel_contrastive: each pixel finds its teacher's "
        "among the negatives; image_contrastive: the mean over the pixels does; feature_mse: each "
        "pixel predicts its teacher's, standardised. The last two are to compare with.",
        group="model",
        source="[paper]",
        choices_in="pcd_tf.objectives",
    )
    teacher_head_gates: str = setting(
        "mean",
        help="What decides the activations of the teacher's head on a map. mean: the mean over the "
        "pixels, so that the map's mean keeps its meaning; pixel: each pixel for itself, the plain "
        "activation, to compare with.",
        group="model",
        source="[paper]",
        choices=("mean", "pixel"),
    )
    map_size: str = setting(
        "student",
        help="Whose map keeps its size where teacher and student differ in it: the other's is "
        "averaged down or interpolated up to it.",
        group="model",
        source="[ours]",
        choices=("student", "teacher"),
    )
    queue_size: int = setting(
        65536,
        help="Negatives kept: averaged teacher maps of earlier images.",
        group="model",
        source="[code]",
        unit="vectors",
        minimum=1,
        maximum=2**24,
        maximum_reason="16777216 vectors of 256 channels take 16 GiB.",
    )
    temperature: float = setting(
        0.2,
        help="Temperature of the contrastive losses.",
        group="model",
        source="[paper]",
        minimum=0.025,
        maximum=100,
        reason="Below, the streamed loss underflows in float32.",
        maximum_reason="Above, all pixels look alike to the loss.",
    )
    eval_every_epochs: float | None = setting(
        None,
        help="How often the student is scored on the way, at the end too. The best one is then "
        "WORKDIR/student, in place of the last.",
        group="run",
        source="[ours]",
        unit="epochs",
        above=0,
        **EPOCHS,
        when_none="never",
    )
    eval_dir: str | None = setting(
        None,
        help="Images to score the student on, none of those it is trained on. With class folders, "
        "DIR/CLASS or DIR/train/CLASS and DIR/val/CLASS, by k-NN; without, by how well pixels of "
        "one view are found in another.",
        group="run",
        source="[ours]",
        unit="directory",
        when_none="the val split of the synthetic images, else the run's own images",
    )
    eval_maps_dir: str | None = setting(
        None,
        help="Images with class maps to score the student on too, by a linear classifier at every "
        "pixel: DIR/train, DIR/train_sem, DIR/val and DIR/val_sem (or test), as --dataset=png_maps "
        "of finetune. Without --eval_dir its mIoU decides which student is the best.",
        group="run",
        source="[ours]",
        unit="directory",
        when_none="none",
    )
    early_stop_evals: int | None = setting(
        None,
        help="Ends the run after so many scores in a row without a better one.",
        group="run",
        source="[ours]",
        unit="scores",
        minimum=1,
        maximum=10**6,
        maximum_reason="No run is scored more often.",
        when_none="the run goes to its end",
    )
    global_batch_size: int = with_default(
        TrainingConfig, "global_batch_size", 1024, source="[code]"
    )
    learning_rate: float = with_default(TrainingConfig, "learning_rate", 1.0, source="[code]")
    weight_decay: float = with_default(TrainingConfig, "weight_decay", 1e-5, source="[code]")

    @property
    def student_options(self) -> dict[str, Any]:
        """What the student's `build` is told: for a user's own, its model."""
        if self.student_model is None:
            return {}
        levels = (self.student_pyramid or "").split(",")
        pyramid = dict(level.split("=") for level in levels if level)
        return {"model": self.student_model, "pyramid": pyramid, "image_size": self.image_size}

    def conflicts(self) -> Iterator[Conflict]:
        yield from super().conflicts()
        yield from self._student_conflicts()
        yield from self._teacher_conflicts()
        for name in ("eval_dir", "eval_maps_dir", "early_stop_evals"):
            if getattr(self, name) is not None and self.eval_every_epochs is None:
                yield (name, "eval_every_epochs"), "nothing is scored. Set eval_every_epochs too."
        for name in ("eval_dir", "eval_maps_dir"):
            path = getattr(self, name)
            if path is not None and not Path(path).is_dir():
                yield (name,), f"expected an existing directory. Received: {path!r}."

    def _teacher_conflicts(self) -> Iterator[Conflict]:
        inside = Path(self.teacher_checkpoint) / "teacher"
        if teachers.is_saved(self.teacher_checkpoint):
            for name in self.teacher_settings:
                text = f"{self.teacher_checkpoint!r} is a teacher already, which knows its own."
                yield (name, "teacher_checkpoint"), f"{text} Leave this out."
            return
        text = f"expected a directory with teacher.json. Received: {self.teacher_checkpoint!r}."
        if teachers.is_saved(inside):
            yield ("teacher_checkpoint",), f"{text} Did you mean {str(inside)!r}?"
        elif self.teacher is None and Path(self.teacher_checkpoint).is_file():
            text = "expected the name of the teacher that the file holds, as it is to be converted."
            yield ("teacher", "teacher_checkpoint"), f"{text} One of {', '.join(teachers.names())}."
        elif self.teacher is None:
            text += (
                " Make a teacher with main.py pretrain or convert; it is then in WORKDIR/teacher."
            )
            yield ("teacher_checkpoint", "teacher"), text

    def _student_conflicts(self) -> Iterator[Conflict]:
        if self.student == "custom" and self.student_model is None:
            yield ("student_model", "student"), "student=custom needs it."
        for name in ("student_model", "student_pyramid"):
            if getattr(self, name) is not None and self.student != "custom":
                text = f"student={self.student} has no use for it. Set student to custom."
                yield (name, "student"), text
        pyramid = self.student_pyramid
        if pyramid is not None and not re.fullmatch(rf"{_LEVEL}(,{_LEVEL})*", pyramid):
            text = f"expected P3=LAYER,P4=LAYER and so on. Received: {pyramid!r}."
            yield ("student_pyramid",), text
        elif pyramid is not None and len(set(levels := re.findall(r"(P\d)=", pyramid))) < len(
            levels
        ):
            text = f"expected one layer for each level. Received: {pyramid!r}."
            yield ("student_pyramid",), text
        if self.student_init != "random" and not Path(self.student_init).exists():
            text = f"expected random or an existing path. Received: {self.student_init!r}."
            yield ("student_init",), text
