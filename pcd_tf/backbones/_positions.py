"""Positions of a Vision Transformer: tables for any size of map, by products of matrices."""

from typing import Any

import numpy as np
import numpy.typing as npt
from keras import ops


def resize_table(table: Any, size: tuple[Any, Any], *, antialias: bool = True) -> Any:
    """Interpolates a table of positions bicubically, exactly as it is at its own size.

    Equal to `keras.ops.image.resize(table, size, "bicubic", antialias=antialias)` and, with
    `antialias`, to PyTorch's `interpolate(mode="bicubic", antialias=True)`, which timm uses. It is
    made of products of matrices, so that it compiles with XLA, on every backend, and for sizes that
    are known only when it runs.
    Source: Keys, "Cubic convolution interpolation for digital image processing", 1981, a = -0.5.

    Args:
        table: float32 (g, G, C), one position for each patch of the images of the pre-training.
        size: (h, w), patches; ints or scalar integer tensors.
        antialias: whether the kernel widens when the table shrinks.

    Returns:
        float32 (h, w, C).
    """
    height, width = size
    rows, columns, channels = table.shape
    if _is_known(height) and _is_known(width) and (height, width) == (rows, columns):
        return table
    x = ops.reshape(table, (rows, -1))  # (g, G, C) -> (g, G*C)
    x = ops.matmul(_weights(rows, height, antialias), x)  # (h, G*C)
    x = ops.reshape(x, (height, columns, channels))  # (h, G*C) -> (h, G, C)
    return ops.matmul(_weights(columns, width, antialias), x)  # (h, w, C)


def sine_cosine(size: int, channels: int) -> npt.NDArray[np.float32]:
    """Computes the fixed 2-D positions of MoCo v3: row and column as sines and cosines.

    Source: Chen, Xie, He, 2021, arXiv 2104.02057, section 4.2; the order of the channels is that of
    its code: sines and cosines of the row, then of the column, wavelengths up to 2 pi * 10000.

    Args:
        size: patches a side.
        channels: a multiple of 4.

    Returns:
        float32 (size, size, channels).

    Raises:
        ValueError: when the channels are no multiple of 4.
    """
    if channels % 4:
        raise ValueError(
            "Expected a multiple of 4 channels for 2-D sine-cosine positions. "
            f"Received: {channels}."
        )
    frequencies = 10000.0 ** (-np.arange(channels // 4) / (channels // 4))
    angles = np.arange(size)[:, None] * frequencies  # (size, C / 4)
    line = np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)  # (size, C / 2)
    rows = np.repeat(line[:, None], size, axis=1)  # (size, size, C / 2)
    columns = np.repeat(line[None, :], size, axis=0)  # (size, size, C / 2)
    return np.concatenate([rows, columns], axis=-1).astype("float32")


def _weights(num_in: int, num_out: Any, antialias: bool) -> Any:
    """How much each of the inputs counts for each output: float32 (num_out, num_in), rows of 1."""
    step = num_in / ops.cast(num_out, "float32")
    stretch = ops.maximum(step, 1.0) if antialias else 1.0
    centres = (ops.cast(ops.arange(num_out), "float32") + 0.5) * step - 0.5  # (num_out,)
    places = np.arange(num_in, dtype="float32")
    weights = _cubic((ops.expand_dims(centres, 1) - places) / stretch)  # (num_out, num_in)
    return weights / ops.sum(weights, axis=1, keepdims=True)


def _cubic(x: Any) -> Any:
    x = ops.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1.0
    far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return ops.where(x < 1.0, near, ops.where(x < 2.0, far, ops.zeros_like(x)))


def _is_known(number: Any) -> bool:
    return isinstance(number, int)
