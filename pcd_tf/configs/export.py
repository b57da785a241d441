"""The settings of `export`: a distilled student in a format for elsewhere."""

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

from pcd_tf.configs._bounds import BATCH, SIDE
from pcd_tf.configs._outputs import problem_of_output
from pcd_tf.errors import UserError
from pcd_tf.settings import Conflict, Settings, setting

# The formats that a setting is for; one that is not named here is for all of them.
_FORMATS_OF = {
    "image_size": ("saved_model", "keras_hub_preset", "onnx", "litert"),
    "batch_size": ("saved_model", "onnx", "litert"),
    "precision": ("litert",),
    "naming": ("torchvision",),
}


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
        help="What to write. saved_model: for TensorFlow and its serving; keras_hub_preset: to "
        "fine-tune with KerasHub; torchvision: a ResNet for PyTorch; onnx: for ONNX Runtime "
        "and what else reads it; litert: for phones and small devices.",
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
    data_dir: str | None = setting(
        None,
        help="A folder of images to check the export with, and for int8 to calibrate it with, in "
        "place of those that the student was distilled on.",
        group="data",
        source="[ours]",
        unit="directory",
        when_none="the run's own images, where they still are",
    )
    image_size: str | None = setting(
        None,
        help="Size of the images that the export takes: pixels a side, or HEIGHTxWIDTH, "
        f"at most {SIDE['maximum']} a side. "
        "keras_hub_preset: the size that its image converter resizes to. Not for torchvision.",
        group="model",
        source="[ours]",
        unit="size in pixels",
        when_none="any size; for litert and keras_hub_preset, that of the run",
    )
    batch_size: int | None = setting(
        None,
        help="Number of images that the export takes at a time. For saved_model, onnx and litert.",
        group="model",
        source="[ours]",
        unit="images",
        **BATCH,
        when_none="any number; for litert, 1",
    )
    precision: str | None = setting(
        None,
        help="Of litert's weights. float16: half the file, computed in float32 where the processor "
        "has no float16; int8: a quarter of the file, all whole numbers, calibrated with images.",
        group="model",
        source="[ours]",
        choices=("float32", "float16", "int8"),
        when_none="float32",
    )
    naming: str | None = setting(
        None,
        help="Whose names torchvision's arrays get.",
        group="model",
        source="[ours]",
        choices=("torchvision", "detectron2"),
        when_none="torchvision",
    )

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of `image_size`, pixels; None when it is not given."""
        if self.image_size is None:
            return None
        found = re.fullmatch(r"([1-9]\d{0,4})(?:x([1-9]\d{0,4}))?", self.image_size, re.ASCII)
        sides = [int(side) for side in found.groups(found[1])] if found else []
        if not sides or max(sides) > SIDE["maximum"]:
            raise UserError(
                "image_size: expected pixels a side, as in 224, or HEIGHTxWIDTH, as in 480x640, "
                f"at most {SIDE['maximum']} a side. Received: {self.image_size!r}."
            )
        return sides[0], sides[1]

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
        elif problem := problem_of_output(out):
            yield ("out",), problem
        if self.data_dir is not None and not Path(self.data_dir).is_dir():
            yield ("data_dir",), f"expected a folder of images. Received: {self.data_dir!r}."
        try:
            _ = self.size
        except ValueError as error:
            yield ("image_size",), str(error).removeprefix("image_size: ")
        for name, formats in _FORMATS_OF.items():
            if getattr(self, name) is not None and self.format not in formats:
                yield (
                    (name, "format"),
                    f"it is for {', '.join(formats)}. Received: --format={self.format}, which has "
                    f"no use for --{name}: leave it out.",
                )
