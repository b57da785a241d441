"""Students: the backbones that a teacher's knowledge is distilled into, one file each."""

import os
from typing import TYPE_CHECKING, Any

from pcd_tf import plugins

if TYPE_CHECKING:
    import keras

    from pcd_tf.students._distilled import Student as Student


def names() -> tuple[str, ...]:
    """Lists the students: the choices of `--student`."""
    return plugins.names(__name__)


def build(name: str, **options: Any) -> "keras.Model":
    """Builds a student: randomly initialised, except for a user's own file.

    Args:
        name: one of `names()`.
        **options: those of `custom`: model, pyramid, image_size; the others have none.

    Returns:
        A functional model: normalised images (B, H, W, 3) of any size -> float (B, h, w, C). But
        for `custom` it is a KerasHub backbone. Its other maps: `pyramid`.

    Raises:
        UserError: when there is no such student, naming the choices and the nearest; when a user's
            own model cannot be one.

    Example:
        build("resnet18")(images).shape  # (B, h, w, 512)
        build("custom", model="networks:tiny", pyramid={"P3": "block3", "P4": "block4"})
    """
    student: keras.Model = plugins.load(__name__, name).build(**options)
    return student


def initialise(backbone: "keras.Model", path: str | os.PathLike[str]) -> str:
    """Sets all weights of a student to those of a file; all of them, or none.

    Args:
        backbone: to set.
        path: the workdir of a distill run, a student's directory or KerasHub preset, a Keras model
            (.keras) or its weights (.weights.h5), or, for a ResNet, a PyTorch checkpoint in
            torchvision's layout (.pth, .pth.tar, .pt, .ckpt, .bin, .safetensors, .npz), after any
            one prefix; its classifier `fc`, and what has not that prefix, is left out.

    Returns:
        The SHA-256 of the weights, for the record of a run.

    Raises:
        UserError: when the file cannot be read, or does not fit: says what is missing, what is
            left over, and both shapes of what differs.
    """
    from pcd_tf.students import _start

    return _start.initialise(backbone, path)


def save(backbone: "keras.Model", directory: str | os.PathLike[str]) -> None:
    """Writes a student's backbone, in float32, into an existing, empty directory: WORKDIR/student.

    A KerasHub backbone becomes a preset; any other model `backbone.keras`, and beside it
    `pyramid.json` where the user has named the layers of the pyramid. `SHA256SUMS` keeps the digest
    of the weights, which `load` compares them with.
    """
    from pcd_tf.students import _directory

    _directory.save(backbone, directory)


def load(directory: str | os.PathLike[str]) -> "keras.Model":
    """Loads the backbone that `save` wrote, computing in float32.

    Classes of the user's own, registered with Keras, must have been imported before.

    Raises:
        UserError: when it does not load.
    """
    from pcd_tf.students import _directory

    return _directory.load(directory)


def read(workdir: str | os.PathLike[str]) -> "Student":
    """Reads the student of a finished distill run, with its normalisation and its origin.

    Where a user's own student has layers of the user's own, their module is to be imported before.

    Raises:
        UserError: when there is no such run, it is another job's, it is not finished, or it has a
            class that Keras does not know.
    """
    from pcd_tf.students import _distilled

    return _distilled.read(workdir)


def pyramid(backbone: "keras.Model") -> "dict[str, keras.KerasTensor]":
    """Finds the maps of a backbone by level: `Pn` has one pixel for each 2**n of the image.

    They are the model's `pyramid_outputs` where it has them, else found: at each stride the last
    map that all behind it is computed from, so a stage's output and nothing inside of its blocks.
    The model's output is always the map of its level. Strides are measured, and levels finer than
    P2 left out.

    Args:
        backbone: functional, images (B, H, W, 3) -> (B, h, w, C).

    Returns:
        "P2", "P3", ... -> the model's own symbolic map, the finest first; empty when no stride is a
        power of two.

    Example:
        network = keras.Model(backbone.input, pyramid(backbone))
    """
    from pcd_tf.students import _pyramid

    return _pyramid.pyramid(backbone)


def __getattr__(name: str) -> Any:
    """Loads the class on its first use (PEP 562): this package itself is loaded without Keras."""
    if name == "Student":
        from pcd_tf.students._distilled import Student

        return Student
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
