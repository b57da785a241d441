"""Two augmented views of every image, as an endless stream of batches."""

import tensorflow as tf

from pcd_tf.data._order import Record, uniform
from pcd_tf.data._pixels import pixels_or_replacement
from pcd_tf.data._recipe import Recipe, draw_crops, draw_photometric
from pcd_tf.data._resize import cut
from pcd_tf.data._source import Source
from pcd_tf.data._stream import batches


def two_views(
    source: Source,
    recipe: Recipe,
    *,
    image_size: int,
    global_batch_size: int,
    seed: int,
    start_step: int = 0,
) -> tf.data.Dataset:
    """Makes two views of each image: cropped, resized and mirrored here, coloured by the model.

    The stream runs on from epoch to epoch and drops nothing. What is random is a function of
    (seed, epoch, example), so a stream started at step k gives what one started at 0 gives there.

    Args:
        source: the images.
        recipe: the strength of the augmentation: `BYOL` or `MOCO_V3`.
        image_size: height and width of a view, in pixels.
        global_batch_size: images a batch, over all replicas.
        seed: of the order and of the views.
        start_step: the batch to start at; those before it cost no decoding.

    Returns:
        an endless dataset of dicts, B images a batch and S pixels a side:
        "images", uint8 (B, 2, S, S, 3), mirrored already, colours as in the image;
        "boxes", float32 (B, 2, 4), y0, x0, y1, x1 of the crop in the image, 0 to 1;
        "flips", bool (B, 2), whether the crop was mirrored;
        "photometric", float32 (B, 2, 8), for `pcd_tf.layers.Photometric`;
        "index", int64 (B,), which image of the source.

    Raises:
        UserError: when the source has fewer images than a batch.
        DecodeError: when no image of the source can be decoded.

    Example:
        batches = two_views(source, BYOL, image_size=224, global_batch_size=64, seed=0)
    """
    source.check(global_batch_size)
    views = (recipe.first, recipe.second)
    min_pixels = recipe.min_pixels(image_size)

    def example(record: Record) -> dict[str, tf.Tensor]:
        image, index = pixels_or_replacement(source, record, min_pixels=min_pixels)
        size = tf.shape(image)[:2]
        numbers = uniform(seed, record, (2, 33))
        crops = draw_crops(views, size, numbers[:, :22])
        flips = numbers[:, 22] < [view.flip for view in views]

        def view(i: int) -> tf.Tensor:
            piece = cut(image, crops[i], (image_size, image_size))
            return tf.cond(flips[i], lambda: tf.reverse(piece, [1]), lambda: piece)

        return {
            "images": tf.stack([view(0), view(1)]),
            "boxes": tf.cast(crops, tf.float32) / tf.cast(tf.tile(size, [2]), tf.float32),
            "flips": flips,
            "photometric": draw_photometric(views, numbers[:, 23:]),
            "index": index,
        }

    records = source.shuffled(seed, start_step * global_batch_size)
    return batches(records, example, global_batch_size, drop_remainder=True)
