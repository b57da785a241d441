"""What is to be exported, and how: the student with the settings that a format acts upon."""

import dataclasses

import numpy as np

from export._images import Images
from pcd_tf.configs.export import Config
from pcd_tf.errors import UserError
from pcd_tf.students import Student


@dataclasses.dataclass(frozen=True)
class Order:
    """A student, and the form that it is wanted in.

    Args:
        student: what to export.
        images: real ones, to check and to calibrate with.
        batch_size: images at a time; None for any number.
        height, width: of the images, pixels; both None for any size.
        precision: "float32", "float16" or "int8".
        naming: whose names the arrays get, "torchvision" or "detectron2".
    """

    student: Student
    images: Images
    batch_size: int | None = None
    height: int | None = None
    width: int | None = None
    precision: str = "float32"
    naming: str = "torchvision"

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width, pixels; None for any size."""
        if self.height is None or self.width is None:
            return None
        return self.height, self.width

    @property
    def size_or_run(self) -> tuple[int, int]:
        """Height and width, or the square that the student was distilled on."""
        return self.size or (self.student.image_size, self.student.image_size)

    @property
    def input_shape(self) -> tuple[int | None, int | None, int | None, int]:
        """Of the images, (B, H, W, 3), with None where anything goes."""
        return (self.batch_size, self.height, self.width, 3)


def order(config: Config, student: Student, *, fixed: bool = False) -> Order:
    """Brings the settings and the student together.

    Args:
        config: the settings.
        student: what to export.
        fixed: whether the format takes one size and number only: then these have defaults, one
            image of the run's size.

    Raises:
        UserError: when the student does not take images of the size that is asked for, or
            `config.data_dir` holds no images.
    """
    images = Images.of(student.source.get("settings", {}), data_dir=config.data_dir)
    own = student.backbone.input_shape[1:3]
    size = config.size or (own if None not in own else None)
    if fixed and size is None:
        size = (student.image_size, student.image_size)
    if config.size:
        _try(student, config.size)
    height, width = size or (None, None)
    return Order(
        student,
        images,
        batch_size=config.batch_size or (1 if fixed else None),
        height=height,
        width=width,
        precision=config.precision or "float32",
        naming=config.naming or "torchvision",
    )


def _try(student: Student, size: tuple[int, int]) -> None:
    try:
        student.outputs(np.zeros((1, *size, 3), "uint8"))
    except Exception as error:  # what a network says of a size that it cannot take is up to it
        raise UserError(
            f"Expected an image_size that the student takes. Received: {size[0]} x {size[1]} "
            f"pixels, for images {student.backbone.input_shape}: {error}"
        ) from error
