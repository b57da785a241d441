"""Pictures of what a detector or a segmenter found, beside what is there."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from pcd_tf.training import _drawing

_SIDE = 3.0  # inches of an image


@dataclasses.dataclass(frozen=True)
class Boxes:
    """An image with true and found boxes.

    Args:
        image: uint8 (H, W, 3).
        true_boxes: float (m, 4), x1, y1, x2, y2 in pixels of the image.
        true_classes: int (m,).
        boxes: float (n, 4), those found.
        classes: int (n,).
        scores: float (n,), 0..1.
        true_masks: bool (m, H, W), or none.
        masks: bool (n, H, W), or none.
    """

    image: npt.NDArray[np.uint8]
    true_boxes: npt.NDArray[np.floating]
    true_classes: npt.NDArray[np.integer]
    boxes: npt.NDArray[np.floating]
    classes: npt.NDArray[np.integer]
    scores: npt.NDArray[np.floating]
    true_masks: npt.NDArray[np.bool_] | None = None
    masks: npt.NDArray[np.bool_] | None = None


@dataclasses.dataclass(frozen=True)
class ClassMaps:
    """An image with true and found classes of its pixels.

    Args:
        image: uint8 (H, W, 3).
        true: uint8 (H, W), 255 where no class is known.
        found: uint8 (H, W).
    """

    image: npt.NDArray[np.uint8]
    true: npt.NDArray[np.uint8]
    found: npt.NDArray[np.uint8]


def draw_boxes(shown: Sequence[Boxes], class_names: Sequence[str], path: Path) -> None:
    """Draws a row for each image: true boxes on the left, found ones with scores on the right."""
    palette = _drawing.colours(len(class_names))
    figure = Figure(figsize=(2 * _SIDE, _height(shown)), layout="tight")
    axes = figure.subplots(len(shown), 2, squeeze=False)
    for (left, right), one in zip(axes, shown, strict=True):
        labels = [class_names[label] for label in one.true_classes]
        objects = one.true_boxes, one.true_masks, one.true_classes
        _drawing.draw_objects(left, one.image, *objects, labels, palette)
        labels = [
            f"{class_names[label]} {score:.2f}"
            for label, score in zip(one.classes, one.scores, strict=True)
        ]
        objects = one.boxes, one.masks, one.classes
        _drawing.draw_objects(right, one.image, *objects, labels, palette)
    axes[0][0].set_title("true")
    axes[0][1].set_title("found")
    _drawing.without_ticks(figure)
    _drawing.save(figure, path)


def draw_class_maps(shown: Sequence[ClassMaps], class_names: Sequence[str], path: Path) -> None:
    """Draws a row for each image: the image, its true classes, those found; with a legend."""
    palette = _drawing.colours(len(class_names))
    figure = Figure(figsize=(3 * _SIDE, _height(shown) + 0.6), layout="constrained")
    axes = figure.subplots(len(shown), 3, squeeze=False)
    for row, one in zip(axes, shown, strict=True):
        row[0].imshow(one.image)
        row[1].imshow(_drawing.coloured(one.true, palette), interpolation="nearest")
        row[2].imshow(_drawing.coloured(one.found, palette), interpolation="nearest")
    for axis, title in zip(axes[0], ("image", "true", "found"), strict=True):
        axis.set_title(title)
    maps = [classes for one in shown for classes in (one.true, one.found)]
    _drawing.legend_of_classes(figure, maps, class_names)
    _drawing.without_ticks(figure)
    _drawing.save(figure, path)


def _height(shown: Sequence[Boxes] | Sequence[ClassMaps]) -> float:
    """Inches for a row of each image, as high as the highest of one width."""
    shapes = [one.image.shape for one in shown]
    return _SIDE * len(shapes) * max((shape[0] / shape[1] for shape in shapes), default=1.0) + 0.4
