"""What a downstream network starts from: a distilled student, a preset, a teacher, or nothing."""

import dataclasses
from pathlib import Path

import keras

from pcd_tf import digests, normalisation, students, teachers
from pcd_tf.errors import UserError
from pcd_tf.weights import presets

RANDOM = "random"


@dataclasses.dataclass(frozen=True)
class Init:
    """A backbone to fine-tune or to probe, and how its images are normalised.

    Args:
        name: as it was asked for.
        kind: "random", "student", "teacher" or "preset".
        backbone: functional, trainable: normalised images (B, H, W, 3) -> map (B, h, w, C). Its
            other maps: `pcd_tf.students.pyramid`.
        mean: per channel, of RGB images in 0..255.
        std: likewise.
        normalisation: who says so.
        sha256: of all weights; that of a random one is its seed's.
        image_size: of the square images that a student was distilled on, pixels; None for others.
    """

    name: str
    kind: str
    backbone: keras.Model
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    normalisation: str
    sha256: str
    image_size: int | None = None

    @property
    def architecture(self) -> str:
        """Names the network and its size; networks that differ in it cannot share weights."""
        return f"{type(self.backbone).__name__}, {self.backbone.count_params()} parameters"


def kind(name: str) -> str:
    """Tells what an init is by its name and its files, without loading it.

    Args:
        name: "random", the workdir of a distill run, a teacher's directory, or a KerasHub preset:
            a directory, a name such as `resnet_18_imagenet`, or an address such as `hf://...`.

    Raises:
        UserError: when it is a directory of something else; says what may have been meant.
    """
    folder = Path(name)
    if name == RANDOM:
        return RANDOM
    if not folder.is_dir():
        if "/" in name and "://" not in name:
            raise UserError(
                "init: expected random, a directory or the name of a KerasHub preset. "
                f"Received: {name!r}, which does not exist."
            )
        return "preset"
    if (folder / "student").is_dir():
        return "student"
    if teachers.is_saved(str(folder)):
        return "teacher"
    inner = folder / "keras_hub_preset"
    if (folder / "task.json").is_file() or _is_preset(folder):
        return "preset"
    nearby = [path for path in (folder / "teacher", inner) if path.is_dir()]
    meant = f" Did you mean {nearby[0]}?" if nearby else ""
    raise UserError(
        "init: expected the workdir of a finished distill run, a teacher's directory or a KerasHub "
        f"preset. Received: {name}, which is none of these.{meant}"
    )


def load(name: str, *, student: str = "resnet18") -> Init:
    """Loads what a downstream network starts from; it computes in Keras's current precision.

    Where KerasHub or a user's own file settles the precision, that is float32.

    Args:
        name: see `kind`.
        student: which network "random" builds, one of `pcd_tf.students.names()`.

    Raises:
        UserError: when there is nothing of that name, or it does not load.

    Example:
        load("runs/student").backbone(images)
        load("random", student="resnet18")
    """
    mean: tuple[float, ...] = normalisation.IMAGENET_MEAN
    std: tuple[float, ...] = normalisation.IMAGENET_STD
    image_size = None
    found = kind(name)
    source = "ImageNet's" if found == RANDOM else f"the {found}'s"
    if found == RANDOM:
        backbone = students.build(student)
    elif found == "student":
        distilled = students.read(name)
        backbone, mean, std = distilled.backbone, distilled.mean, distilled.std
        image_size = distilled.image_size
        architecture = distilled.source["settings"].get("student")
        is_rebuilt = architecture in set(students.names()) - {"custom"}
        if is_rebuilt and keras.config.dtype_policy().name != "float32":
            backbone = students.build(architecture)
            students.initialise(backbone, name)
    elif found == "teacher":
        teacher = teachers.load(name)
        backbone, mean, std = teacher.backbone, teacher.mean, teacher.std
    else:
        backbone = presets.load(name)
        mean, std, source = normalisation.of_preset(name)
    backbone.trainable = True
    red, green, blue = (float(x) for x in mean)
    deviations = tuple(float(x) for x in std)
    return Init(
        name=name,
        kind=found,
        backbone=backbone,
        mean=(red, green, blue),
        std=(deviations[0], deviations[1], deviations[2]),
        normalisation=source,
        sha256=digests.of_variables(backbone.weights),
        image_size=image_size,
    )


def freeze(backbone: keras.Model, *, level: str | None, batch_norm: bool) -> None:
    """Leaves a part of a backbone as it is: neither its weights nor its statistics are trained.

    Args:
        backbone: functional.
        level: of its pyramid, "P2" to "P5": all layers that compute that map; None for none.
        batch_norm: whether every BatchNormalization of the backbone is frozen as well.

    Raises:
        UserError: when the backbone has no such level.

    Example:
        freeze(backbone, level="P2", batch_norm=False)
    """
    if level is not None:
        levels = students.pyramid(backbone)
        if level not in levels:
            raise UserError(
                f"freeze: expected a level of the backbone, {', '.join(levels) or 'none'}. "
                f"Received: {level}."
            )
        for layer in keras.Model(backbone.input, levels[level]).layers:
            layer.trainable = False
    if batch_norm:
        for layer in backbone._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False


def _is_preset(folder: Path) -> bool:
    return (folder / "config.json").is_file() and (folder / "model.weights.h5").is_file()
