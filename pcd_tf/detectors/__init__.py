"""Detectors: networks that find objects, each around a student's backbone, one file each."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pcd_tf import plugins

if TYPE_CHECKING:
    import keras

    from pcd_tf import data
    from pcd_tf.evaluation.detection import Detections


def names() -> tuple[str, ...]:
    """Lists the detectors: the choices of `--model` where objects are to be found."""
    return plugins.names(__name__)


def trains_itself(name: str) -> bool:
    """Tells whether a detector has a training of its own, `train`, in place of `build`."""
    return hasattr(plugins.load(__name__, name), "train")


def build(
    name: str,
    backbone: "keras.Model",
    *,
    class_names: Sequence[str],
    mean: Sequence[float],
    std: Sequence[float],
    **options: Any,
) -> Any:
    """Builds a detector around a backbone; all behind the backbone is randomly initialised.

    Args:
        name: one of `names()`.
        backbone: a student's: functional, normalised images (B, S, S, 3) -> map, with P3, P4 and
            P5 among its maps (`pcd_tf.students.pyramid`); trained with the rest.
        class_names: of the labels 0, 1, ...
        mean: per channel, of RGB images in 0..255.
        std: likewise.
        **options: those of the detector's own file.

    Returns:
        A keras.Model, whole when made: build and compile it under the strategy's scope.
        `train_step(batch)` takes "images" uint8 (B, S, S, 3), "boxes" float32 (B, M, 4), x1, y1,
        x2, y2 in pixels, and "labels" int32 (B, M), -1 where there is no object; it returns global
        means by name, "loss" among them.
        `detect(images)` takes uint8 (B, S, S, 3) and returns, best first, "boxes" float32
        (B, N, 4), "scores" float32 (B, N), "classes" int32 (B, N) and "count" int32 (B,).

    Raises:
        ValueError: when there is no such detector, naming the choices and the nearest; when the
            classes or the backbone do not do.

    Example:
        model = build("retinanet", backbone, class_names=["nucleus"], mean=mean, std=std)
    """
    module = plugins.load(__name__, name)
    return module.build(backbone, class_names=class_names, mean=mean, std=std, **options)


def evaluate(
    model: Any, source: "data.Annotated", *, image_size: int, batch_size: int
) -> "Detections":
    """Detects on every image of a source, to be scored.

    Args:
        model: as `build` returns it, trained.
        source: `pcd_tf.data.Annotated`.
        image_size: S that the images are fitted into, pixels.
        batch_size: images at a time.

    Example:
        evaluate(model, source, image_size=256, batch_size=8).scores()["AP50"]
    """
    from pcd_tf.detectors import _evaluation

    return _evaluation.evaluate(model, source, image_size=image_size, batch_size=batch_size)


def export(
    model: Any,
    directory: str | os.PathLike[str],
    *,
    image_size: int,
    class_names: Sequence[str],
    score_threshold: float = 0.05,
) -> None:
    """Writes a detector as a SavedModel that needs TensorFlow alone; see `_saved_model.py`.

    Args:
        model: with `detect`, as `build` returns it, made in Keras 3 or in Keras 2.
        directory: to write to.
        image_size: S that the detector was trained on, pixels: images of any size are brought to it
            inside.
        class_names: of the classes 0, 1, ...
        score_threshold: boxes below it are left out; 0.05 by default, as `detect` does.

    Example:
        export(model, "out", image_size=256, class_names=model.class_names)
        find = tf.saved_model.load("out").signatures["encoded_images"]
        find(images=tf.constant([Path("photo.jpg").read_bytes()]))["boxes"]  # (1, 100, 4)
    """
    from pcd_tf.detectors import _saved_model

    _saved_model.write(
        model,
        directory,
        image_size=image_size,
        class_names=class_names,
        score_threshold=score_threshold,
    )
