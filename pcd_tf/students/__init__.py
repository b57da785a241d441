"""Students: the backbones that a teacher's knowledge is distilled into, one file each."""

import os
from typing import TYPE_CHECKING, Any

from pcd_tf import plugins

if TYPE_CHECKING:
    import keras
    import keras_hub

    from pcd_tf.students._distilled import Student as Student


def names() -> tuple[str, ...]:
    """Lists the students: the choices of `--student`."""
    return plugins.names(__name__)


def build(name: str) -> "keras_hub.models.FeaturePyramidBackbone":
    """Builds a randomly initialised student: a KerasHub backbone with a feature pyramid.

    Args:
        name: one of `names()`.

    Returns:
        A backbone: normalised images (B, H, W, 3) of any size -> float (B, h, w, C), its BatchNorm
        synchronised over replicas, its `pyramid_outputs` a dict with the last map and finer ones.

    Raises:
        ValueError: when there is no such student; names the choices and the nearest.

    Example:
        build("resnet18")(images).shape  # (B, h, w, 512)
    """
    student: keras_hub.models.FeaturePyramidBackbone = plugins.load(__name__, name).build()
    return student


def save(backbone: "keras.Model", directory: str | os.PathLike[str]) -> None:
    """Writes a student's backbone into an existing, empty directory: WORKDIR/student."""
    from pcd_tf.students import _directory

    _directory.save(backbone, directory)


def load(directory: str | os.PathLike[str]) -> "keras.Model":
    """Loads the backbone that `save` wrote, computing in float32.

    Raises:
        ValueError: when it does not load.
    """
    from pcd_tf.students import _directory

    return _directory.load(directory)


def read(workdir: str | os.PathLike[str]) -> "Student":
    """Reads the student of a finished distill run, with its normalisation and its origin.

    Raises:
        ValueError: when there is no such run, it is another job's, or it is not finished.
    """
    from pcd_tf.students import _distilled

    return _distilled.read(workdir)


def pyramid(backbone: "keras.Model") -> "dict[str, keras.KerasTensor]":
    """Finds the maps of a backbone by level: `Pn` has one pixel for each 2**n of the image."""
    from pcd_tf.students import _pyramid

    return _pyramid.pyramid(backbone)


def __getattr__(name: str) -> Any:
    """Loads the class on its first use (PEP 562): this package itself is loaded without Keras."""
    if name == "Student":
        from pcd_tf.students._distilled import Student

        return Student
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
