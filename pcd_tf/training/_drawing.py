"""What pictures have in common: colours of classes, objects on an image, and how they are kept."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke

from pcd_tf.data import IGNORED

_MOST_LABELS = 40  # on an image: more can hardly be read
_ROOM = 0.06  # that a name takes above a box, as a share of the image's height


def colours(count: int) -> npt.NDArray[np.floating]:
    """One colour a class, RGB in 0..1, float (K, 3): twenty distinct ones, then shades."""
    distinct = [
        *mpl.colormaps["tab10"](np.arange(10))[:, :3],
        *mpl.colormaps["Set2"](np.arange(8))[:, :3],
    ]
    more = mpl.colormaps["hsv"](np.linspace(0, 1, max(count, 1), endpoint=False))[:, :3]
    return np.array([*distinct, *more[len(distinct) :]])[: max(count, 1)]


def coloured(
    classes: npt.NDArray[np.uint8], palette: npt.NDArray[np.floating]
) -> npt.NDArray[np.floating]:
    """Gives each pixel the colour of its class, white where none is known: (H, W) -> (H, W, 3)."""
    is_known = classes != IGNORED
    return np.where(is_known[..., None], palette[np.where(is_known, classes, 0)], 1.0)


def legend_of_classes(
    figure: Figure, maps: Iterable[npt.NDArray[np.uint8]], class_names: Sequence[str]
) -> None:
    """Names below a figure the classes that maps show."""
    palette = colours(len(class_names))
    used = sorted({int(id_) for classes in maps for id_ in np.unique(classes)})
    patches = [
        Patch(fc="white", ec="grey", label="not counted")
        if id_ == IGNORED
        else Patch(color=palette[id_], label=class_names[id_])
        for id_ in used
    ]
    figure.legend(handles=patches, loc="outside lower center", ncols=8, fontsize=8)


def draw_objects(
    axis: Axes,
    image: npt.NDArray[np.uint8],
    boxes: npt.NDArray[np.floating],
    masks: npt.NDArray[np.bool_] | None,
    classes: npt.NDArray[np.integer],
    labels: Sequence[str],
    palette: npt.NDArray[np.floating],
) -> None:
    """Draws objects on an image, each in the colour of its class.

    Args:
        axis: to draw on.
        image: uint8 (H, W, 3).
        boxes: float (n, 4), x1, y1, x2, y2 in pixels.
        masks: bool (n, H, W), or none.
        classes: int (n,).
        labels: what is written beside each box.
        palette: of the classes, see `colours`.
    """
    picture = image / 255.0
    for mask, label in zip(masks if masks is not None else (), classes, strict=masks is not None):
        picture[mask] = 0.5 * picture[mask] + 0.5 * palette[label]
    axis.imshow(picture)
    for (x1, y1, x2, y2), label in zip(boxes, classes, strict=True):
        corner, width, height = (x1 - 0.5, y1 - 0.5), x2 - x1, y2 - y1
        frame = Rectangle(corner, width, height, fill=False, ec=palette[label], lw=1.5)
        frame.set_path_effects([withStroke(linewidth=2.5, foreground="black")])
        axis.add_patch(frame)
    if len(labels) > _MOST_LABELS:
        return
    height, width = image.shape[:2]
    for (x1, y1, x2, _), text in zip(boxes, labels, strict=True):
        is_left, is_high = x1 + x2 < width, y1 < _ROOM * height  # so that no name is cut off
        axis.text(
            x1 if is_left else x2,
            y1,
            text,
            color="white",
            fontsize=6,
            ha="left" if is_left else "right",
            va="top" if is_high else "bottom",
            bbox={"facecolor": "black", "alpha": 0.5, "pad": 0.5, "edgecolor": "none"},
            clip_on=True,
        )


def without_ticks(figure: Figure) -> None:
    """Takes the numbers off the axes of images."""
    for axis in figure.axes:
        axis.set(xticks=[], yticks=[])


def save(figure: Figure, path: Path) -> None:
    """Writes a PNG file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
