"""How far a network looks: the effective receptive field of the centre of its map."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from matplotlib.figure import Figure

_AT_ONCE = 4  # images, for memory
_SHARE = 0.95  # of the gradient, for the radius that is told


def input_gradient(
    network: Callable[[Any], Any], images: npt.NDArray[np.floating]
) -> npt.NDArray[np.float32]:
    """Measures how much each pixel of the image moves the centre of the map.

    The gradient of the centre's activations, added up, by the image: its absolute value, averaged
    over images and channels, of sum 1.
    Source: Luo et al., "Understanding the Effective Receptive Field in Deep Convolutional Neural
    Networks", 2016, arXiv 1701.04128.

    Args:
        network: float (n, S, S, 3) -> map (n, H, W, D), in inference mode.
        images: float (n, S, S, 3), as the network wants them.

    Returns:
        float32 (S, S).
    """
    total = np.zeros(images.shape[1:3])
    for start in range(0, len(images), _AT_ONCE):
        inputs = tf.constant(images[start : start + _AT_ONCE], tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            maps = network(inputs)  # [b, H, W, D]
            height, width = maps.shape[1:3]
            # The sum over images: in inference mode none of them moves another's map.
            centre = tf.reduce_sum(tf.cast(maps[:, height // 2, width // 2], tf.float32))
        gradient = tape.gradient(centre, inputs)  # [b, S, S, 3]
        total += tf.reduce_sum(tf.reduce_mean(tf.abs(gradient), axis=-1), axis=0).numpy()
    return (total / max(total.sum(), 1e-12)).astype(np.float32)


def radius(field: npt.NDArray[np.floating], share: float = _SHARE) -> float:
    """Half the side of the smallest square round the field's own middle that holds a share of it.

    Args:
        field: float (S, S), of sum 1.
        share: 0..1.

    Returns:
        pixels.
    """
    rows, columns = np.indices(field.shape)
    middle = (float((rows * field).sum()), float((columns * field).sum()))
    distance = np.maximum(abs(rows - middle[0]), abs(columns - middle[1]))
    order = np.argsort(distance, axis=None)
    reached = int(np.searchsorted(np.cumsum(field.flat[order]), share))
    return float(distance.flat[order[min(reached, order.size - 1)]])


def draw(fields: Mapping[str, npt.NDArray[np.floating]], path: Path) -> None:
    """Draws fields side by side, each brightest at its own largest value.

    Args:
        fields: by title, float (S, S).
        path: PNG file.
    """
    figure = Figure(figsize=(3.2 * len(fields), 4.0), layout="constrained")
    axes = figure.subplots(1, len(fields), squeeze=False)[0]
    for axis, (title, field) in zip(axes, fields.items(), strict=True):
        # The root lets the faint rim be seen, as in the figures of the source.
        axis.imshow(np.sqrt(field / max(float(field.max()), 1e-12)), cmap="magma")
        axis.set(xticks=[], yticks=[])
        axis.set_title(f"{title}\n{_SHARE:.0%} within {radius(field):.0f} px")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
