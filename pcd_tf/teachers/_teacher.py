"""What a teacher is, and how it is kept on disk."""

import math
import os
from collections.abc import Sequence
from pathlib import Path

import keras

from pcd_tf import atomic, digests
from pcd_tf.errors import UserError
from pcd_tf.layers import SpatialAdaptor
from pcd_tf.normalisation import IMAGENET_MEAN, IMAGENET_STD
from pcd_tf.teachers import _description
from pcd_tf.teachers._saved_model import SavedModel, in_teacher
from pcd_tf.weights import arrays

_WEIGHTS = "weights.safetensors"


class Teacher:
    """A frozen network that embeds every pixel of a feature map.

    The backbone's map goes through the vector head of the teacher's own pre-training, applied at
    each pixel by SpatialAdaptor. Inference mode always, and no variable is trainable. It is a plain
    object on purpose: as an attribute of a Keras model it is not tracked, so that neither the
    model's weights nor its checkpoints hold it.
    Source: Huang and Guo, "Pixel-Wise Contrastive Distillation", ICCV 2023, arXiv 2211.00218.

    Shapes: B images of H x W pixels; h x w pixels of the last feature map, C channels; D of an
        embedding.

    Args:
        name: which teacher it is; one of `teachers.names()`, for the project's own.
        backbone: normalised images (B, H, W, 3) -> (B, h, w, C). Frozen here.
        head: the vector head (B, C) -> (B, D), of layers that SpatialAdaptor takes. Frozen here.
            Only an Identity for a teacher without one: its embedding is the map.
        mean: per channel, of RGB images in 0..255, that images are normalised with.
        std: likewise, above 0.
        origin: where the weights come from, for people to read.
        student_layers: Dense layers in a student's head where the authors' students have another
            number than the teacher's head; None for as many, two at least.
        gates: what decides the gates of the head: see SpatialAdaptor. Not kept on disk.

    Call arguments:
        images: float (B, H, W, 3), normalised by `mean` and `std`.

    Returns:
        float32 (B, h, w, D), not of unit norm. Its mean over the pixels is the head's embedding of
        the map's mean over the pixels.

    Raises:
        UserError: when the backbone gives no map, head and backbone do not fit, or mean and std
            are not three numbers each.

    Example:
        teacher = pcd_tf.teachers.build("moco_v3_resnet18")
        teacher(keras.ops.zeros((1, 64, 64, 3))).shape  # (1, 2, 2, 256)
    """

    def __init__(
        self,
        name: str,
        backbone: keras.Model,
        head: keras.Sequential,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        origin: str = "random initialisation",
        *,
        student_layers: int | None = None,
        gates: str = "mean",
    ):
        if len(backbone.output_shape) != 4:
            raise UserError(
                "Expected a backbone that gives a map (B, h, w, C). Received: "
                f"{backbone.name} that gives {backbone.output_shape}."
            )
        if backbone.output_shape[-1] != head.input_shape[-1]:
            raise UserError(
                "Expected a head for the backbone's channels. Received: a backbone with "
                f"{backbone.output_shape[-1]}, a head for {head.input_shape[-1]}."
            )
        self.name = name
        self.backbone = backbone
        self.head = head
        self.mean = _three_numbers("mean", mean)
        self.std = _three_numbers("std", std, above=0.0)
        self.origin = origin
        self._student_layers = student_layers
        self.backbone.trainable = False
        self.head.trainable = False
        self._spatial_head = SpatialAdaptor(head, gates)

    def __call__(self, images: keras.KerasTensor) -> keras.KerasTensor:
        feature_map = self.backbone(images, training=False)
        return keras.ops.cast(self._spatial_head(feature_map), "float32")

    @property
    def hidden_units(self) -> int:
        """Width of the head's first Dense; where it has none, twice the channels, as in MoCo v3."""
        return self._units[0] if self._units else 2 * self.embedding_dim

    @property
    def student_layers(self) -> int:
        """Dense layers in a student's head: those of the teacher's, and one hidden layer at least.

        The authors' student heads mirror the teacher's; see `student_layers` of the class.
        """
        return self._student_layers or max(2, len(self._units))

    @property
    def _units(self) -> list[int]:
        """Widths of the head's Dense layers."""
        return [layer.units for layer in self.head.layers if isinstance(layer, keras.layers.Dense)]

    @property
    def embedding_dim(self) -> int:
        """D, the channels of an embedding."""
        return self.head.output_shape[-1]

    @property
    def weights(self) -> list[keras.Variable]:
        """All variables, the backbone's first."""
        return [*self.backbone.weights, *self.head.weights]

    @property
    def named_weights(self) -> dict[str, keras.Variable]:
        """All variables by name: `backbone/<layer>/<variable>` and `head/<layer>/<variable>`."""
        backbone = arrays.variables(self.backbone, "backbone/")
        return backbone | arrays.variables(self.head, "head/")

    def with_gates(self, gates: str) -> "Teacher":
        """Returns this teacher, of the same variables, with the head's gates decided otherwise."""
        return Teacher(
            self.name,
            self.backbone,
            self.head,
            self.mean,
            self.std,
            self.origin,
            student_layers=self._student_layers,
            gates=gates,
        )

    def invariance_error(self, images: keras.KerasTensor) -> float:
        """Compares the mean over pixels of the embedding with the head of the mean pixel.

        They are equal by the making of SpatialAdaptor, up to rounding, unless pixels decide the
        gates.

        Args:
            images: as in a call.

        Returns:
            The largest difference, relative to the largest absolute value.
        """
        feature_map = self.backbone(images, training=False)  # [B, h, w, C]
        mean_pixel = _mean_pixel(feature_map)  # [B, C]
        expected = keras.ops.cast(self.head(mean_pixel, training=False), "float32")  # [B, D]
        received = _mean_pixel(self._spatial_head(feature_map))  # [B, D]
        scale = keras.ops.max(keras.ops.abs(expected))
        return float(keras.ops.max(keras.ops.abs(received - expected)) / scale)

    def save(self, directory: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Writes `teacher.json`, `weights.safetensors` and its digest: all of it, or nothing.

        Raises:
            UserError: when the directory holds something and `overwrite` is not given.
        """
        description = _description.Description(
            version=1,
            name=self.name,
            origin=self.origin,
            mean=self.mean,
            std=self.std,
            student_layers=self._student_layers,
            backbone=_description.of_model(self.backbone),
            head=_description.of_model(self.head),
        )
        with atomic.directory(directory, overwrite=overwrite) as folder:
            arrays.write(folder / _WEIGHTS, arrays.values(self.named_weights))
            if isinstance(self.backbone, SavedModel):
                self.backbone.copy_to(folder)
            _description.write(folder, description)
            digests.write(folder)

    def fingerprint(self) -> str:
        """Returns the SHA-256 of all weights, and of a SavedModel's files."""
        files = self.backbone.files() if isinstance(self.backbone, SavedModel) else []
        return digests.of_variables(self.weights, files)


def _mean_pixel(maps: keras.KerasTensor) -> keras.KerasTensor:
    return keras.ops.mean(keras.ops.cast(maps, "float32"), axis=(1, 2))  # [B, h, w, C] -> [B, C]


def load(directory: str | os.PathLike[str], name: str | None = None) -> Teacher:
    """Loads what `Teacher.save` wrote; see `pcd_tf.teachers.load`."""
    folder = Path(directory)
    description = _description.read(folder)
    digests.check(folder)
    if name is not None and description.name != name:
        raise UserError(
            f"Expected the teacher {name}. Received: {folder}, which holds {description.name}: "
            "ask for that teacher, or name another directory."
        )
    teacher = Teacher(
        name=description.name,
        backbone=in_teacher(folder, description.backbone)
        or _description.rebuild(description.backbone, keras.Model, folder),
        head=_description.rebuild(description.head, keras.Sequential, folder),
        mean=description.mean,
        std=description.std,
        origin=description.origin,
        student_layers=description.student_layers,
    )
    weights = folder / _WEIGHTS
    arrays.assign(teacher.named_weights, arrays.read(weights), origin=str(weights))
    return teacher


def _three_numbers(
    label: str, numbers: Sequence[float], above: float = -math.inf
) -> tuple[float, float, float]:
    if len(numbers) != 3 or not all(above < number < math.inf for number in numbers):
        raise UserError(
            f"Expected a {label} of three finite numbers above {above}, one for each channel of "
            f"RGB images in 0..255. Received: {label}={tuple(numbers)}."
        )
    red, green, blue = (float(number) for number in numbers)
    return red, green, blue
