"""Resizing in a graph, and the letterbox: the same in training, evaluation and SavedModels."""

import tensorflow as tf

# While no more than this many pixels become one, bilinear interpolation reads nearly each of them.
# Beyond it, bilinear would leave most of them out, so all that become one are averaged.
_FIRST_AVERAGED = 1.5


def resize(images: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Resizes without aliasing: uint8 (B, H, W, C) -> (B, h, w, C).

    `size` is int32 (2,), h and w.
    """
    given = tf.cast(tf.shape(images)[1:3], tf.float32)
    shrinking = tf.reduce_prod(given / tf.cast(size, tf.float32))

    def averaged() -> tf.Tensor:
        return tf.cast(tf.raw_ops.ResizeArea(images=images, size=size) + 0.5, tf.uint8)

    def interpolated() -> tf.Tensor:
        values, _, _ = tf.raw_ops.QuantizedResizeBilinear(
            images=tf.bitcast(images, tf.quint8),
            size=size,
            min=0.0,
            max=255.0,
            half_pixel_centers=True,
        )
        return tf.bitcast(values, tf.uint8)

    return tf.cond(shrinking > _FIRST_AVERAGED, averaged, interpolated)


def cut(image: tf.Tensor, box: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Cuts y0, x0, y1, x1, in pixels, out of uint8 (H, W, C), and resizes that to (h, w, C)."""
    return resize(image[None, box[0] : box[2], box[1] : box[3]], size)[0]


def resize_classes(maps: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Resizes maps of class ids to the nearest pixel's: uint8 (H, W) -> (h, w)."""
    return tf.image.resize(maps[..., None], size, method="nearest")[..., 0]


def fitted(size: tf.Tensor, image_size: int) -> tf.Tensor:
    """Gives the height and width in the letterbox: int32 (..., 2) -> (..., 2), in pixels.

    The longer side becomes `image_size`, the other the nearest whole number, 1 at least.
    """
    longer = tf.reduce_max(size, axis=-1, keepdims=True)
    return tf.maximum(1, (2 * size * image_size + longer) // (2 * longer))


def letterbox(images: tf.Tensor, image_size: int) -> tf.Tensor:
    """Resizes images until the longer side fits, and pads with black at the bottom or the right.

    uint8 (B, H, W, 3) -> (B, S, S, 3), S = image_size.
    """
    return padded(resize(images, fitted(tf.shape(images)[1:3], image_size)), image_size)


def boxes_in_image(boxes: tf.Tensor, sizes: tf.Tensor, image_size: int) -> tf.Tensor:
    """Brings boxes from letterboxes to the pixels of their images, and inside of them.

    Args:
        boxes: float32 (B, N, 4), x1, y1, x2, y2 in pixels of the S x S.
        sizes: int32 (B, 2), height and width of each image in pixels.
        image_size: S.

    Returns:
        float32 (B, N, 4).
    """
    ratios = tf.cast(sizes / fitted(sizes, image_size), tf.float32)
    width_height = [1, 0, 1, 0]
    ends = tf.gather(tf.cast(sizes, tf.float32), width_height, axis=1)[:, None]  # (B, 1, 4)
    return tf.clip_by_value(boxes * tf.gather(ratios, width_height, axis=1)[:, None], 0.0, ends)


def padded(images: tf.Tensor, image_size: int, value: int = 0) -> tf.Tensor:
    """Pads uint8 (B, H, W, C) at the bottom and the right to (B, S, S, C)."""
    missing = image_size - tf.shape(images)[1:3]
    paddings = [[0, 0], [0, missing[0]], [0, missing[1]], [0, 0]]
    images = tf.pad(images, paddings, constant_values=tf.constant(value, images.dtype))
    return tf.ensure_shape(images, (None, image_size, image_size, images.shape[-1]))
