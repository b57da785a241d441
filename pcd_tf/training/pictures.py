"""Pictures a person can look at: batches, curves, maps as colours, what a pixel is similar to."""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from pcd_tf.training import _drawing

NUM_SHOWN = 8  # images of a batch in a picture
_IN_A_ROW = 4  # of those
_SIDE = 2.2  # inches of one of two pictures side by side
_GAP = 0.04  # between the two, as a share of the side
_FRAMES: tuple[dict[str, Any], ...] = (  # one below the other
    {"c": "black", "lw": 2.6},
    {"c": "gold", "lw": 1.4, "ls": (0, (4, 2))},
)

_LABELS = {
    "loss": "loss",
    "retrieval_top1": "retrieval top-1",
    "feature_spread": "feature spread (0: collapsed)",
}


def draw_curves(
    lines: Sequence[Mapping[str, float]], path: Path, *, chance: float | None = None
) -> None:
    """Draws loss, retrieval and spread over the steps.

    Args:
        lines: those of metrics.jsonl.
        path: PNG file.
        chance: retrieval top-1 of guessing, drawn as a dashed line.
    """
    names = [name for name in _LABELS if lines and name in lines[0]]
    figure = Figure(figsize=(4.5 * len(names), 3.2), layout="tight")
    axes = figure.subplots(1, len(names), squeeze=False)
    for axis, name in zip(axes[0], names, strict=True):
        axis.plot([line["step"] for line in lines], [line[name] for line in lines], marker=".")
        axis.set(xlabel="step", title=_LABELS[name])
        axis.grid(alpha=0.3)
        if name == "retrieval_top1":
            axis.set_ylim(0, 1)
            if chance is not None:
                axis.axhline(chance, ls="--", c="grey", label=f"chance {chance:.2%}")
                axis.legend()
    _drawing.save(figure, path)


def draw_evaluations(lines: Sequence[Mapping[str, float]], path: Path, *, metric: str) -> None:
    """Draws the scores of a run's evaluations over its steps, the best of one of them marked.

    Args:
        lines: those of evaluations.jsonl.
        path: PNG file.
        metric: the score that decides.
    """
    names = list(dict.fromkeys(name for line in lines for name in line))
    figure = Figure(figsize=(6.0, 3.6), layout="tight")
    axis = figure.subplots()
    for name in names:
        if name in ("step", "time"):
            continue
        found = [(line["step"], line[name]) for line in lines if name in line]
        style: dict[str, Any] = (
            {"ls": "--", "c": "grey"} if name.endswith("_chance") else {"marker": "."}
        )
        axis.plot(*zip(*found, strict=True), label=name, **style)
        if name == metric:
            axis.plot(*max(found, key=lambda point: point[1]), "*", c="black", markersize=11)
    axis.set(xlabel="step", title="on other images; star: the best, which is kept", ylim=(0, None))
    axis.grid(alpha=0.3)
    if names:
        axis.legend(fontsize="small")
    _drawing.save(figure, path)


def draw_batches(
    batches: Sequence[Mapping[str, np.ndarray]], path: Path, *, class_names: Sequence[str] = ()
) -> None:
    """Draws batches as a network sees them, at most 8 images of each.

    It is what to look at first when something does not learn.

    Args:
        batches: one at least, all of one stream of `pcd_tf.data`. Of two views: "images" uint8
            (B, 2, S, S, 3), "boxes" and "flips". Of objects: "images" uint8 (B, S, S, 3), "boxes",
            "labels" and, where there are any, "masks" bool (B, M, S, S). Of classes: "images" and
            "maps". What else a batch holds is not looked at.
        path: PNG file.
        class_names: of the labels, or of the ids in the maps.
    """
    draw: Callable[..., None]
    if "maps" in batches[0]:
        draw, width = functools.partial(_draw_classes, count=len(class_names)), 2 + _GAP
    elif "labels" in batches[0]:
        draw, width = functools.partial(_draw_labelled, class_names=class_names), 1.5
    else:
        draw, width = _draw_views, 2 + _GAP
    count = min(NUM_SHOWN, len(batches[0]["images"]))
    columns, rows = min(_IN_A_ROW, count), -(-count // _IN_A_ROW)
    height = rows * len(batches) * (1.5 if width == 1.5 else 1.1)
    figure = Figure(
        figsize=(_SIDE * width * columns, _SIDE * height + 0.6),
        layout=ConstrainedLayoutEngine(w_pad=0.1),  # inches, so that pairs stand apart
    )
    axes = figure.subplots(rows * len(batches), columns, squeeze=False)
    for number, batch in enumerate(batches):
        of_batch = axes[number * rows : (number + 1) * rows].ravel()
        for axis in of_batch:
            axis.set_frame_on(False)
        for place, axis in enumerate(of_batch[: len(batch["images"])][:count]):
            draw(axis, {name: values[place] for name, values in batch.items()})
        if len(batches) > 1:
            of_batch[0].set_ylabel(f"batch {number + 1}")
    if "maps" in batches[0]:
        maps = [batch["maps"][:count] for batch in batches]
        _drawing.legend_of_classes(figure, maps, class_names)
    elif "labels" not in batches[0]:
        line = Line2D([], [], **_FRAMES[1])
        figure.legend([line], ["what both views show"], loc="outside lower center", fontsize=8)
    _drawing.without_ticks(figure)
    _drawing.save(figure, path)


def _draw_views(axis: Axes, example: Mapping[str, np.ndarray]) -> None:
    """Draws both views of an image, and in each the part that the other one shows as well."""
    first, second = example["images"]
    starts = _draw_pair(axis, first, second, "first view", "second view")
    size = len(first)
    low, high = example["boxes"][:, :2], example["boxes"][:, 2:]  # [2, 2] both: y, x
    shared = np.stack([low.max(axis=0), high.min(axis=0)])  # [2, 2]
    if (shared[0] >= shared[1]).any():
        return
    for view, start in enumerate(starts):
        (top, left), (bottom, right) = (shared - low[view]) / (high[view] - low[view]) * size
        if example["flips"][view]:
            left, right = size - right, size - left
        x = start - 0.5 + np.array([left, right, right, left, left])
        y = np.array([top, top, bottom, bottom, top]) - 0.5
        for style in _FRAMES:
            axis.plot(x, y, **style, clip_on=False)


def _draw_labelled(
    axis: Axes, example: Mapping[str, np.ndarray], class_names: Sequence[str]
) -> None:
    """Draws an image with its objects."""
    there = example["labels"] >= 0
    classes = example["labels"][there]
    _drawing.draw_objects(
        axis,
        example["images"],
        example["boxes"][there],
        example["masks"][there] if "masks" in example else None,
        classes,
        [class_names[label] for label in classes],
        _drawing.colours(len(class_names)),
    )
    axis.set_title(f"objects: {len(classes)}", fontsize=8)


def _draw_classes(axis: Axes, example: Mapping[str, np.ndarray], count: int) -> None:
    """Draws an image, and beside it the same below the colours of its classes."""
    image = example["images"] / 255.0
    classes = _drawing.coloured(example["maps"], _drawing.colours(count))
    _draw_pair(axis, image, 0.4 * image + 0.6 * classes, "image", "classes")


def _draw_pair(
    axis: Axes, left: np.ndarray, right: np.ndarray, *titles: str
) -> tuple[float, float]:
    """Draws two pictures of one size side by side, and returns where each starts."""
    height, width = left.shape[:2]
    starts = (0.0, width * (1 + _GAP))
    for picture, start, title in zip((left, right), starts, titles, strict=True):
        axis.imshow(picture, extent=(start - 0.5, start + width - 0.5, height - 0.5, -0.5))
        middle = start + width / 2
        axis.text(middle, -0.03 * height, title, ha="center", va="bottom", fontsize=8)
    axis.set(xlim=(-0.5, starts[1] + width - 0.5), ylim=(height - 0.5, -0.5))
    return starts


def draw_maps(images: np.ndarray, maps: Mapping[str, np.ndarray], path: Path) -> None:
    """Draws the first three principal components of maps as red, green and blue.

    The components are those of one map at a time over all images, so equal colours in a column mean
    equal embeddings; columns of different networks are comparable in layout, not in hue, so each
    column's components are turned to agree best with the first column's (orthogonal Procrustes).

    Args:
        images: uint8 (n, S, S, 3).
        maps: by title, float (n, H, W, D).
        path: PNG file.
    """
    colours: dict[str, np.ndarray] = {}
    for title, values in maps.items():
        reference = next(iter(colours.values()), None)
        colours[title] = _components(values, reference)
    figure = Figure(figsize=(2.2 * (1 + len(maps)), 2.2 * len(images)), layout="tight")
    axes = figure.subplots(len(images), 1 + len(maps), squeeze=False)
    for row, image in zip(axes, images, strict=True):
        row[0].imshow(image)
    for column, (title, values) in enumerate(colours.items(), start=1):
        span = np.abs(values).max(axis=(0, 1, 2)) + 1e-12
        for row, value in zip(axes, values / span / 2 + 0.5, strict=True):
            row[column].imshow(value, interpolation="nearest")
        axes[0][column].set_title(title)
    axes[0][0].set_title("image")
    _drawing.without_ticks(figure)
    _drawing.save(figure, path)


def draw_similarity(
    images: np.ndarray, maps: Mapping[str, np.ndarray], path: Path, *, pixel: tuple[int, int]
) -> None:
    """Draws the cosine of one pixel's embedding with every other pixel's of its image.

    Args:
        images: uint8 (n, S, S, 3).
        maps: by title, float (n, H, W, D).
        path: PNG file.
        pixel: (row, column) of the map, marked by a cross.
    """
    size = (2.2 * (1 + len(maps)) + 0.8, 2.2 * len(images))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(images), 1 + len(maps), squeeze=False)
    height = next(iter(maps.values())).shape[1]
    y, x = ((place + 0.5) * images.shape[1] / height - 0.5 for place in pixel)
    for row, image in zip(axes, images, strict=True):
        row[0].imshow(image)
        row[0].plot(x, y, "x", color="white", markersize=10, markeredgewidth=4)
        row[0].plot(x, y, "x", color="red", markersize=9, markeredgewidth=2)
    heat = None
    for column, (title, values) in enumerate(maps.items(), start=1):
        unit = values / (np.linalg.norm(values, axis=-1, keepdims=True) + 1e-12)
        cosines = np.einsum("nhwd,nd->nhw", unit, unit[:, pixel[0], pixel[1]])  # [n, H, W]
        for row, cosine in zip(axes, cosines, strict=True):
            heat = row[column].imshow(cosine, vmin=-1, vmax=1, cmap="RdBu_r")
        axes[0][column].set_title(title)
    axes[0][0].set_title("image, pixel")
    _drawing.without_ticks(figure)
    if heat is not None:
        figure.colorbar(heat, ax=axes, label="cosine", shrink=0.6)
    _drawing.save(figure, path)


def _components(maps: np.ndarray, reference: np.ndarray | None) -> np.ndarray:
    """First three principal components of maps, float (n, H, W, D) -> (n, H, W, 3)."""
    shape = maps.shape
    vectors = maps.reshape(-1, shape[-1])  # [n*H*W, D]
    vectors = vectors / (np.linalg.norm(vectors, axis=-1, keepdims=True) + 1e-12)
    vectors = vectors - vectors.mean(axis=0)
    left, values, _ = np.linalg.svd(vectors, full_matrices=False)
    parts = left[:, :3] * values[:3]  # [n*H*W, <=3]
    parts = np.pad(parts, ((0, 0), (0, 3 - parts.shape[1])))
    if reference is not None and reference.shape[:-1] == shape[:-1]:
        u, _, v = np.linalg.svd(parts.T @ reference.reshape(-1, 3))
        parts = parts @ u @ v
    return parts.reshape(*shape[:-1], 3)  # [n, H, W, 3]
