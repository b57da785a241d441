"""Pictures a person can look at: curves, maps as colours, what a pixel is similar to."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

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
    _save(figure, path)


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
    _save(figure, path)


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
    _without_ticks(axes)
    _save(figure, path)


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
    _without_ticks(axes)
    if heat is not None:
        figure.colorbar(heat, ax=axes, label="cosine", shrink=0.6)
    _save(figure, path)


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


def _without_ticks(axes: np.ndarray) -> None:
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
