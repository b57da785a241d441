"""Which pixel of one crop of an image is which pixel of another crop."""

from typing import Any

from keras import ops

# A box narrower than this (of the image's side) is treated as this wide: no division by zero.
_SMALLEST_EXTENT = 1e-6


def overlap_grid(
    boxes1: Any, flips1: Any, boxes2: Any, flips2: Any, size: tuple[int, int]
) -> tuple[Any, Any, Any]:
    """Places one grid over the overlap of two crops and returns it as seen from each.

    Point (i, j) of both grids is the same place of the source image, the centre of cell (i, j) of
    the overlap cut into h x w cells; rows and columns run as in the upright, unflipped image. To
    compare two feature maps pixel by pixel, `sample` each map at its own grid.

    A pair counts (weight 1) when its overlap is at least one pixel of a h x w map wide and high,
    in the coarser of the two views; else its cells are much smaller than what a pixel of the map
    sees, all points fall on nearly one pixel, and the weight is 0. The points of such a pair are
    finite and inside both crops, but mean nothing.

    Shapes: B pairs of crops, h x w grid points.

    Args:
        boxes1: float (B, 4): y0, x0, y1, x1 of the first view's crops in the upright source
            image, relative 0..1.
        flips1: bool (B,): whether that crop was mirrored left-right after cropping.
        boxes2: float (B, 4): the same of the second view.
        flips2: bool (B,): the same of the second view.
        size: (h, w) of the grid, and of the maps that decide what is too small.

    Returns: float32 points1 (B, h, w, 2), points2 (B, h, w, 2): y and x in the view's own
        coordinates, 0..1 from its first edge to its last; float32 weights (B,), 0 or 1.

    Raises: ValueError: when a box has not four numbers or `size` is not positive.

    Example:
        >>> left, right = [[0.0, 0.0, 1.0, 0.5]], [[0.0, 0.25, 1.0, 0.75]]
        >>> points1, points2, weights = overlap_grid(left, [False], right, [True], (1, 1))
        >>> points1[0, 0, 0].numpy().tolist(), points2[0, 0, 0].numpy().tolist()
        ([0.5, 0.75], [0.5, 0.75])
    """
    height, width = size
    if height < 1 or width < 1:
        raise ValueError(f"`size` must be (h, w) of at least (1, 1). Received: size={size}.")
    boxes1, boxes2 = _as_boxes(boxes1, "boxes1"), _as_boxes(boxes2, "boxes2")
    start = ops.maximum(boxes1[:, :2], boxes2[:, :2])  # [B, 2]
    end = ops.minimum(boxes1[:, 2:], boxes2[:, 2:])
    extent = ops.maximum(_extent(boxes1), _extent(boxes2))  # of the coarser view
    cell = extent / ops.cast([height, width], "float32")
    # 1e-4 of a pixel of grace: a crop paired with itself must pass at any size, [1, 1] included.
    weights = ops.cast(ops.all(end - start >= (1.0 - 1e-4) * cell, axis=-1), "float32")  # [B]
    y = (ops.arange(height, dtype="float32") + 0.5) / height
    x = (ops.arange(width, dtype="float32") + 0.5) / width
    y, x = ops.meshgrid(y, x, indexing="ij")
    grid = ops.stack([y, x], axis=-1)[None]  # [1, h, w, 2]
    source = _spread(start) + grid * _spread(end - start)  # [B, h, w, 2]
    return _seen_from(source, boxes1, flips1), _seen_from(source, boxes2, flips2), weights


def sample(maps: Any, points: Any) -> Any:
    """Reads maps at given points, bilinearly.

    The centre of pixel (i, j) lies at ((i + 0.5) / H, (j + 0.5) / W); beyond the outermost centres
    the edge pixel continues. Interpolates in float32 and returns the dtype of the maps.
    Differentiable to the maps; to the points as far as bilinear interpolation is.

    Reading is one product with a (h w, H W) matrix for each map: on the small maps of a backbone's
    last stage many times quicker than gathering, and without scatter in the gradient. The matrix
    grows with the square of the pixels, so maps should stay below some 32 x 32.

    Shapes: B maps of H x W pixels and C channels, h x w points.

    Args:
        maps: float (B, H, W, C).
        points: float (B, h, w, 2): y and x, 0..1 over the map.

    Returns: (B, h, w, C), dtype of `maps`.

    Raises: ValueError: when `maps` has not four axes or `points` not four with 2 in the last.

    Example:
        >>> ramp = np.arange(4.0, dtype="float32").reshape((1, 1, 4, 1))
        >>> float(sample(ramp, np.array([[[[0.5, 0.5]]]], "float32"))[0, 0, 0, 0])
        1.5
    """
    maps, points = ops.convert_to_tensor(maps), ops.cast(points, "float32")
    if len(maps.shape) != 4 or len(points.shape) != 4 or points.shape[-1] != 2:
        raise ValueError(
            "`maps` must be of shape (B, H, W, C) and `points` of shape (B, h, w, 2). "
            f"Received: maps of shape {tuple(maps.shape)}, points of shape {tuple(points.shape)}."
        )
    _, height, width, channels = ops.shape(maps)
    _, rows, columns, _ = ops.shape(points)
    along_y = _shares(points[..., 0], height)  # [B, h, w, H]
    along_x = _shares(points[..., 1], width)  # [B, h, w, W]
    shares = along_y[..., :, None] * along_x[..., None, :]  # [B, h, w, H, W]
    shares = ops.reshape(shares, (-1, rows * columns, height * width))  # [B, hw, HW]
    pixels = ops.reshape(ops.cast(maps, "float32"), (-1, height * width, channels))  # [B, HW, C]
    values = ops.reshape(ops.matmul(shares, pixels), (-1, rows, columns, channels))  # [B, h, w, C]
    return ops.cast(values, maps.dtype)


def _shares(points: Any, size: Any) -> Any:
    """How much of each pixel along one axis a point reads: two neighbours, or the edge alone."""
    last = ops.cast(size, "float32") - 1.0
    centres = ops.clip(points * (last + 1.0) - 0.5, 0.0, last)  # in pixels
    distance = ops.abs(centres[..., None] - ops.cast(ops.arange(size), "float32"))
    return ops.relu(1.0 - distance)  # [B, h, w, size]


def _as_boxes(boxes: Any, name: str) -> Any:
    boxes = ops.cast(boxes, "float32")
    if len(boxes.shape) != 2 or boxes.shape[-1] != 4:
        raise ValueError(
            f"`{name}` must hold y0, x0, y1, x1 of each crop, shape (B, 4). "
            f"Received: shape {tuple(boxes.shape)}."
        )
    return boxes


def _extent(boxes: Any) -> Any:
    return ops.maximum(boxes[:, 2:] - boxes[:, :2], _SMALLEST_EXTENT)  # [B, 2]: height, width


def _spread(values: Any) -> Any:
    return values[:, None, None, :]  # [B, 2] -> [B, 1, 1, 2]


def _seen_from(source: Any, boxes: Any, flips: Any) -> Any:
    points = (source - _spread(boxes[:, :2])) / _spread(_extent(boxes))  # [B, h, w, 2]
    points = ops.clip(points, 0.0, 1.0)
    flipped = ops.stack([points[..., 0], 1.0 - points[..., 1]], axis=-1)
    return ops.where(ops.cast(flips, "bool")[:, None, None, None], flipped, points)
