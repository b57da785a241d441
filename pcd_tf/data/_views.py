"""Two augmented views of every image, as an endless stream of batches."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from pcd_tf.data._python_function import python_function
from pcd_tf.data._recipe import Recipe, draw_crop, draw_photometric, generator
from pcd_tf.data._source import Source, epochs

NUM_PREFETCHED = 2  # batches


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

    def example_views(epoch: np.ndarray, index: np.ndarray, payload: Any) -> tuple[Any, ...]:
        return _make_views(source, recipe, image_size, seed, int(epoch), int(index), payload)

    def views(record: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        inputs = [record["epoch"], record["index"], record["payload"]]
        types = [spec.dtype for spec in spec_of.values()]
        outputs = python_function(example_views, inputs, types)
        return {
            name: tf.ensure_shape(output, spec_of[name].shape)
            for name, output in zip(spec_of, outputs, strict=True)
        }

    spec_of = {
        "images": tf.TensorSpec((2, image_size, image_size, 3), tf.uint8),
        "boxes": tf.TensorSpec((2, 4), tf.float32),
        "flips": tf.TensorSpec((2,), tf.bool),
        "photometric": tf.TensorSpec((2, 8), tf.float32),
        "index": tf.TensorSpec((), tf.int64),
    }
    examples = epochs(
        lambda epoch: source.records(seed, epoch),
        source.num_examples,
        start=start_step * global_batch_size,
    )
    examples = examples.map(views, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return examples.batch(global_batch_size, drop_remainder=True).prefetch(NUM_PREFETCHED)


def plain_images(source: Source, *, image_size: int, indices: Sequence[int]) -> np.ndarray:
    """Makes images without augmentation, for pictures: the central square, resized.

    Returns:
        uint8 (n, S, S, 3): n indices, S = image_size.
    """
    images = np.empty((len(indices), image_size, image_size, 3), np.uint8)
    for row, (index, payload) in enumerate(zip(indices, source.payloads(indices), strict=True)):
        _, image = source.read(index, payload)
        images[row] = central_square(image, image_size)
    return images


def central_square(image: Image.Image, image_size: int) -> np.ndarray:
    """Cuts out the largest square in the middle and resizes it to uint8 (S, S, 3)."""
    side = min(image.size)
    x, y = (image.width - side) // 2, (image.height - side) // 2
    return _resized(image, (y, x, y + side, x + side), image_size)


def centre_crop(image: Image.Image, image_size: int) -> np.ndarray:
    """Resizes the short side to 256/224 of S and cuts out the centre: uint8 (S, S, 3).

    As the protocols that evaluate whole images do (MoCo v3's and DINO's `Resize(256)`, then
    `CenterCrop(224)`), with torchvision's rounding. Only what is kept is resized.
    """
    short, least = round(image_size * 256 / 224), min(image.size)
    box = []
    for side in (image.height, image.width):
        resized = side * short // least
        start = round((resized - image_size) / 2)
        box.append((start * side / resized, (start + image_size) * side / resized))
    (y0, y1), (x0, x1) = box
    return _resized(image, (y0, x0, y1, x1), image_size)


def _make_views(
    source: Source,
    recipe: Recipe,
    image_size: int,
    seed: int,
    epoch: int,
    index: int,
    payload: Any,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.int64]:
    """Makes the two views of one example; the outputs are those of `two_views`, without B."""
    used_index, image = source.read(index, payload, min_pixels=recipe.min_pixels(image_size))
    rng = generator(seed, epoch, index)
    scale = np.array([image.height, image.width] * 2, np.float32)
    images = np.empty((2, image_size, image_size, 3), np.uint8)
    boxes = np.empty((2, 4), np.float32)
    flips = np.empty((2,), np.bool_)
    photometric = np.empty((2, 8), np.float32)
    for i, view in enumerate((recipe.first, recipe.second)):
        photometric[i] = draw_photometric(view, rng)
        flips[i] = rng.random() < view.flip
        box = draw_crop(view, image.height, image.width, rng)
        boxes[i] = box / scale
        pixels = _resized(image, box, image_size)
        images[i] = pixels[:, ::-1] if flips[i] else pixels
    return images, boxes, flips, photometric, np.int64(used_index)


def _resized(
    image: Image.Image, box: tuple[float, float, float, float], image_size: int
) -> np.ndarray:
    """Cuts out a box and resizes it, antialiased, to uint8 (S, S, 3)."""
    y0, x0, y1, x1 = box
    size = (image_size, image_size)
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR, box=(x0, y0, x1, y1)))
