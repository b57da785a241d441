"""Maps of one size brought to another: averaged where it is smaller, interpolated where larger."""

from typing import Any

from keras import ops


def resize_map(maps: Any, size: tuple[Any, Any]) -> Any:
    """Resizes feature maps, each axis by itself: area averaging down, bilinear up.

    Going down, a pixel of the result is the mean over the area that it covers, pixels that lie in
    it partly counted by their part, at any ratio. So the mean over all pixels is kept exactly, and
    with it what SpatialAdaptor promises: the mean of a teacher's resized embeddings is still the
    head's embedding of the mean. Going up, it is bilinear interpolation between the centres of
    pixels, the edges continued. That keeps the mean exactly where the ratio is a whole number, and
    else approximately: the pixels of the source then count a little unequally.

    Both are products with a matrix for each axis whose rows sum to 1, so resizing commutes with
    whatever is affine and the same at every pixel; it is differentiable, and compiles under XLA.
    Computes in float32 and returns the dtype of the maps.

    Shapes: B maps, h x w pixels in, H x W pixels out, D channels.

    Args:
        maps: float (B, h, w, D).
        size: (H, W). These, and h and w, may be tensors where they are not known before the run.

    Returns:
        (B, H, W, D), the dtype of `maps`; `maps` itself where the size is the same already.

    Raises:
        ValueError: when `maps` has not four axes or a size is below 1.

    Example:
        >>> ramp = np.arange(4.0, dtype="float32").reshape((1, 1, 4, 1))
        >>> resize_map(ramp, (1, 2))[0, 0, :, 0].numpy().tolist()
        [0.5, 2.5]
    """
    maps = ops.convert_to_tensor(maps)
    if len(maps.shape) != 4:
        raise ValueError(
            f"`maps` must be of shape (B, h, w, D). Received: shape {tuple(maps.shape)}."
        )
    if any(isinstance(length, int) and length < 1 for length in size):
        raise ValueError(f"`size` must be (H, W) of at least (1, 1). Received: size={size}.")
    resized = maps
    for axis, length in zip((1, 2), size, strict=True):
        resized = _resize_axis(resized, axis, length)
    return ops.cast(resized, maps.dtype)


def _resize_axis(maps: Any, axis: int, length: Any) -> Any:
    source = ops.shape(maps)[axis]
    if isinstance(source, int) and isinstance(length, int):
        if source == length:
            return maps
        shares = _areas(source, length) if length < source else _between_centres(source, length)
    else:
        shares = ops.where(
            length < source, _areas(source, length), _between_centres(source, length)
        )  # [length, source]
    maps = ops.cast(maps, "float32")
    if axis == 2:
        return ops.matmul(shares, maps)  # [W, w] x [B, h, w, D] -> [B, h, W, D]
    return ops.einsum("Hh,bhwd->bHwd", shares, maps)


def _areas(source: Any, length: Any) -> Any:
    """How much of each of `source` pixels lies in each of `length` equal parts: rows sum to 1.

    Counts in units that both are whole numbers of, a pixel `length` long and a part `source`.
    """
    part, pixel = _numbers(length)[:, None], _numbers(source)[None, :]
    long, wide = ops.cast(length, "float32"), ops.cast(source, "float32")
    end = ops.minimum((part + 1.0) * wide, (pixel + 1.0) * long)
    start = ops.maximum(part * wide, pixel * long)
    return ops.relu(end - start) / wide  # [length, source]


def _between_centres(source: Any, length: Any) -> Any:
    """How much of each of `source` pixels a pixel of `length` reads: two neighbours, or an edge."""
    wide = ops.cast(source, "float32")
    centres = (_numbers(length) + 0.5) * (wide / ops.cast(length, "float32")) - 0.5  # in pixels
    centres = ops.clip(centres, 0.0, wide - 1.0)
    return ops.relu(1.0 - ops.abs(centres[:, None] - _numbers(source)[None, :]))


def _numbers(count: Any) -> Any:
    return ops.cast(ops.arange(count), "float32")
