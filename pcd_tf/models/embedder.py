"""A trained network as a function from images to embeddings."""

import dataclasses
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import keras
import msgspec
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from pcd_tf import digests, errors, records, students, teachers
from pcd_tf.errors import UserError

# What the published teachers are evaluated at; a teacher's directory says nothing of it.
_TEACHER_IMAGE_SIZE = 224  # pixels

_BATCH_SIZE = 64  # images, where a network takes any number: [ours]

_Function = Callable[[tf.Tensor], tf.Tensor]


class _Export(msgspec.Struct):
    """What is asked of an export's `pcd.json`."""

    image_size: Annotated[int, msgspec.Meta(gt=0)]


@dataclasses.dataclass(frozen=True)
class Embedder:
    """One network, whatever it is stored as: images in, one vector an image out.

    Shapes: B images of S x S pixels, C channels of the last feature map.

    Args:
        kind: what it was read from: "student", "saved_model" or "teacher".
        image_size: S, in pixels, that the network was made for.
        sha256: of the files that it was read from.
        function: uint8 (B, S, S, 3), 0..255 -> float32 (B, C).
        fixed_shape: B, S, S, 3 that it takes; None where it takes any.

    Call arguments:
        images: uint8 (n, S, S, 3), RGB in 0..255.
        batch_size: B, at least n; filled up with black images, so that the function, which is
            compiled for each shape, meets one shape alone.

    Returns:
        float32 (n, C): the mean over the pixels of the last feature map.

    Example:
        load("runs/student")(images, batch_size=64)
    """

    kind: str
    image_size: int
    sha256: str
    function: _Function
    fixed_shape: tuple[int | None, ...] = (None, None, None, 3)

    def __call__(self, images: npt.NDArray[np.uint8], *, batch_size: int) -> npt.NDArray[Any]:
        missing = batch_size - len(images)
        filled = np.pad(images, [(0, missing), (0, 0), (0, 0), (0, 0)])  # (B, S, S, 3)
        with errors.translated():
            embeddings = self.function(tf.constant(filled))
        return np.asarray(embeddings)[: len(images)]

    @property
    def batch_size(self) -> int:
        """B to use where none is asked for."""
        return self.fixed_shape[0] or _BATCH_SIZE

    def check(self, *, image_size: int, batch_size: int) -> None:
        """Computes a black image, so that what cannot work is known before anything is made.

        Raises:
            UserError: when the network takes images or batches of another size only; when the
                device has too little memory for such a batch.
        """
        batch, height, width, _ = self.fixed_shape
        if height != width:
            raise UserError(
                "Expected a network for square images, or for any. Received: one for images of "
                f"{height} x {width} pixels. Export it without --image_size, or for squares."
            )
        for name, value, fixed in (
            ("batch_size", batch_size, batch),
            ("image_size", image_size, height),
        ):
            if fixed not in (None, value):
                raise UserError(
                    f"{name}: expected {fixed}, which the network was made for alone. "
                    f"Received: {value}. Give --{name}={fixed}."
                )
        try:
            self(np.zeros((1, image_size, image_size, 3), np.uint8), batch_size=batch_size)
        except UserError:
            raise
        except Exception as error:  # what can go wrong is up to each network's own code
            raise UserError(
                f"Expected a network that takes images of {image_size} x {image_size} pixels. "
                f"Received: a {self.kind} made for {self.image_size}, which cannot: "
                f"{_reason(error)} Give an --image_size that it takes."
            ) from error


def load(path: str | os.PathLike[str]) -> Embedder:
    """Reads a student, an exported SavedModel or a teacher.

    Args:
        path: the workdir of a finished distill run, a directory that `export --format=saved_model`
            wrote, or a teacher's directory.

    Raises:
        UserError: when it is none of these, or is damaged.
    """
    folder = Path(path)
    if (folder / "saved_model.pb").is_file():
        return _saved_model(folder)
    if (folder / "teacher.json").is_file():
        return _teacher(folder)
    if (folder / "config.json").is_file() and (folder / "student").is_dir():
        return _student(folder)
    raise UserError(
        "Expected the workdir of a finished distill run, a directory with an exported "
        f"saved_model.pb, or one with teacher.json. Received: {folder}{_near(folder)}"
    )


def _student(workdir: Path) -> Embedder:
    student = students.read(workdir)

    @tf.function
    def function(images: tf.Tensor) -> tf.Tensor:
        return student.outputs(images)["embedding"]

    files = [workdir / "config.json", *(workdir / "student").rglob("*")]
    return Embedder("student", student.image_size, _sha256(files), function)


def _saved_model(folder: Path) -> Embedder:
    description = folder / "pcd.json"
    what = "the description of an export, beside its SavedModel"
    image_size = records.read(description, _Export, what=what).image_size
    digests.check(folder)
    try:
        loaded = tf.saved_model.load(str(folder))
        signature = loaded.signatures["serving_default"]
    except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
        raise UserError(
            f"Expected a SavedModel that loads, with the signature serving_default. Received: "
            f"{folder} ({type(error).__name__}: {error}). Export the student again."
        ) from error
    inputs, outputs = signature.structured_input_signature[1], signature.structured_outputs
    if set(inputs) != {"images"} or "embedding" not in outputs:
        raise UserError(
            "Expected a SavedModel whose serving_default takes `images` and gives `embedding`, as "
            f"export writes it. Received: {folder}, which takes {', '.join(sorted(inputs))} and "
            f"gives {', '.join(sorted(outputs))}. Export the student again."
        )
    spec = inputs["images"]

    def function(images: tf.Tensor, owner: Any = loaded) -> tf.Tensor:
        del owner  # whose variables the signature uses but does not keep alive
        return signature(images=tf.cast(images, spec.dtype))["embedding"]

    files = [folder / "saved_model.pb", description, *(folder / "variables").rglob("*")]
    shape = tuple(spec.shape.as_list())
    return Embedder("saved_model", shape[1] or image_size, _sha256(files), function, shape)


def _teacher(folder: Path) -> Embedder:
    teacher = teachers.load(folder)
    mean, std = np.array(teacher.mean, "float32"), np.array(teacher.std, "float32")

    @tf.function
    def function(images: tf.Tensor) -> tf.Tensor:
        normalised = (keras.ops.cast(images, "float32") - mean) / std
        feature_map = teacher.backbone(normalised, training=False)  # (B, h, w, C)
        return keras.ops.mean(keras.ops.cast(feature_map, "float32"), axis=(1, 2))

    shape = tuple(teacher.backbone.input_shape)
    image_size = shape[1] or _TEACHER_IMAGE_SIZE
    return Embedder("teacher", image_size, _sha256(folder.rglob("*")), function, shape)


def _reason(error: BaseException) -> str:
    """Gives the first line of the error that TensorFlow and Keras wrapped into others."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"


def _near(folder: Path) -> str:
    """Ends the message of `load` with what a user may have meant."""
    if not folder.is_dir():
        return ", which is no directory."
    if (folder / "teacher" / "teacher.json").is_file():
        return f". Did you mean {folder / 'teacher'}?"
    if folder.name == "student" and (folder.parent / "config.json").is_file():
        return f". Did you mean {folder.parent}?"
    if (folder / "pcd.json").is_file():
        return ", an export in another format: export with --format=saved_model."
    return ", which is none of these, or a run that is not finished."


def _sha256(files: Any) -> str:
    digest = hashlib.sha256()
    for file in sorted(path for path in files if path.is_file()):
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()
