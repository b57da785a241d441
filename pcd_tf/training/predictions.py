"""Pictures of what a detector or a segmenter found, beside what is there."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from pcd_tf.data import IGNORED

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
    colours = _colours(len(class_names))
    figure = Figure(figsize=(2 * _SIDE, _height(shown)), layout="tight")
    axes = figure.subplots(len(shown), 2, squeeze=False)
    for (left, right), one in zip(axes, shown, strict=True):
        labels = [class_names[label] for label in one.true_classes]
        _draw_objects(left, one.image, one.true_boxes, one.true_masks, one.true_classes, colours)
        _label(left, one.true_boxes, labels)
        labels = [
            f"{class_names[label]} {score:.2f}"
            for label, score in zip(one.classes, one.scores, strict=True)
        ]
        _draw_objects(right, one.image, one.boxes, one.masks, one.classes, colours)
        _label(right, one.boxes, labels)
    axes[0][0].set_title("true")
    axes[0][1].set_title("found")
    _save(figure, path)


def draw_class_maps(shown: Sequence[ClassMaps], class_names: Sequence[str], path: Path) -> None:
    """Draws a row for each image: the image, its true classes, those found; with a legend."""
    colours = _colours(len(class_names))
    figure = Figure(figsize=(3 * _SIDE, _height(shown) + 0.6), layout="constrained")
    axes = figure.subplots(len(shown), 3, squeeze=False)
    for row, one in zip(axes, shown, strict=True):
        row[0].imshow(one.image)
        for axis, classes in ((row[1], one.true), (row[2], one.found)):
            known = np.where(classes == IGNORED, 0, classes)
            picture = colours[known]
            picture[classes == IGNORED] = 1.0  # white
            axis.imshow(picture, interpolation="nearest")
    for axis, title in zip(axes[0], ("image", "true", "found"), strict=True):
        axis.set_title(title)
    used = sorted({int(x) for one in shown for x in np.union1d(one.true, one.found)})
    patches = [Patch(color=colours[x], label=class_names[x]) for x in used if x != IGNORED]
    figure.legend(handles=patches, loc="outside lower center", ncols=6, fontsize=7)
    _save(figure, path)


def _draw_objects(
    axis: Axes,
    image: npt.NDArray[np.uint8],
    boxes: npt.NDArray[np.floating],
    masks: npt.NDArray[np.bool_] | None,
    classes: npt.NDArray[np.integer],
    colours: npt.NDArray[np.floating],
) -> None:
    picture = image / 255.0
    for mask, label in zip(masks if masks is not None else (), classes, strict=masks is not None):
        picture[mask] = 0.5 * picture[mask] + 0.5 * colours[label]
    axis.imshow(picture)
    for (x1, y1, x2, y2), label in zip(boxes, classes, strict=True):
        corner, width, height = (x1 - 0.5, y1 - 0.5), x2 - x1, y2 - y1
        axis.add_patch(Rectangle(corner, width, height, fill=False, ec=colours[label], lw=1.5))


def _label(axis: Axes, boxes: npt.NDArray[np.floating], labels: Sequence[str]) -> None:
    if len(labels) > 40:  # more can hardly be read
        return
    for (x1, y1, *_), label in zip(boxes, labels, strict=True):
        style = {"facecolor": "black", "alpha": 0.5, "pad": 0.5, "edgecolor": "none"}
        axis.text(x1, y1, label, color="white", fontsize=6, va="bottom", bbox=style, clip_on=True)


def _height(shown: Sequence[Boxes] | Sequence[ClassMaps]) -> float:
    """Inches for a row of each image, as high as the highest of one width."""
    shapes = [one.image.shape for one in shown]
    return _SIDE * len(shapes) * max((shape[0] / shape[1] for shape in shapes), default=1.0) + 0.4


def _colours(count: int) -> npt.NDArray[np.floating]:
    """One colour a class, RGB in 0..1, float (K, 3): twenty distinct ones, then shades."""
    distinct = [
        *mpl.colormaps["tab10"](np.arange(10))[:, :3],
        *mpl.colormaps["Set2"](np.arange(8))[:, :3],
    ]
    more = mpl.colormaps["hsv"](np.linspace(0, 1, max(count, 1), endpoint=False))[:, :3]
    return np.array([*distinct, *more[len(distinct) :]])[: max(count, 1)]


def _save(figure: Figure, path: Path) -> None:
    for axis in figure.axes:
        axis.set(xticks=[], yticks=[])
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
