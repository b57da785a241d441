"""Images and their boxes as an endless stream of training batches."""

import numpy as np
import tensorflow as tf

from pcd_tf.annotated._augmentation import Augmentation, draw
from pcd_tf.annotated._source import MAX_OBJECTS, Objects, Source
from pcd_tf.data import epochs, python_function, shuffled_indices

NUM_PREFETCHED = 2  # batches
NO_OBJECT = -1  # the label of a row without one


def batches(
    source: Source,
    augmentation: Augmentation,
    *,
    image_size: int,
    global_batch_size: int,
    seed: int,
    start_step: int = 0,
) -> tf.data.Dataset:
    """Makes the batches that a detector learns from.

    The stream runs on from epoch to epoch and drops nothing. What is random is a function of
    (seed, epoch, image), so a stream started at step k gives what one started at 0 gives there.
    Crowds are left out; of an image with more than M objects the M largest are kept. An image that
    cannot be read ends the stream: with labels, none can take its place.

    Args:
        source: the images and their objects.
        augmentation: what is changed at random; `NONE` for nothing.
        image_size: height and width of an image of the batch, in pixels.
        global_batch_size: images a batch, over all replicas.
        seed: of the order and of the augmentation.
        start_step: the batch to start at; those before it cost no decoding.

    Returns:
        an endless dataset of dicts, B images a batch, S pixels a side, M = MAX_OBJECTS:
        "images", uint8 (B, S, S, 3): scaled in their proportions, 0 at the bottom or right;
        "boxes", float32 (B, M, 4), x1, y1, x2, y2 in pixels of the S x S;
        "labels", int32 (B, M), indices into `class_names`; -1: the row holds no object.

    Raises:
        tf.errors.InvalidArgumentError: while reading, when an image cannot be decoded; names it.

    Example:
        batches(source, Augmentation(), image_size=512, global_batch_size=16, seed=0)
    """

    def example(epoch: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, ...]:
        rng = np.random.default_rng([seed, int(epoch), int(index)])
        return _example(source, augmentation, image_size, int(index), rng)

    def example_of(record: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        types = [spec.dtype for spec in spec_of.values()]
        outputs = python_function(example, [record["epoch"], record["index"]], types)
        return {
            name: tf.ensure_shape(output, spec_of[name].shape)
            for name, output in zip(spec_of, outputs, strict=True)
        }

    spec_of = {
        "images": tf.TensorSpec((image_size, image_size, 3), tf.uint8),
        "boxes": tf.TensorSpec((MAX_OBJECTS, 4), tf.float32),
        "labels": tf.TensorSpec((MAX_OBJECTS,), tf.int32),
    }
    examples = epochs(
        lambda epoch: shuffled_indices(source.num_examples, seed, epoch),
        source.num_examples,
        start=start_step * global_batch_size,
    )
    examples = examples.map(example_of, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return examples.batch(global_batch_size, drop_remainder=True).prefetch(NUM_PREFETCHED)


def _example(
    source: Source,
    augmentation: Augmentation,
    image_size: int,
    index: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Makes one example; the outputs are those of `batches`, without B."""
    image = source.image(index)
    height, width = image.shape[:2]
    boxes, labels = _learned(source.objects(index), height, width)
    flips, placement = draw(augmentation, height, width, image_size, rng)
    if flips:
        image = np.ascontiguousarray(image[:, ::-1])
        boxes = np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], 1)
    boxes, seen = placement.boxes(boxes)
    num_seen = int(seen.sum())
    all_boxes = np.zeros((MAX_OBJECTS, 4), np.float32)
    all_labels = np.full((MAX_OBJECTS,), NO_OBJECT, np.int32)
    all_boxes[:num_seen] = boxes[seen]
    all_labels[:num_seen] = labels[seen]
    return placement.pixels(image, image_size), all_boxes, all_labels


def _learned(objects: Objects, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Picks what is learned from: float64 (n, 4) boxes and int64 (n,) labels, largest first."""
    boxes, kept = objects.inside(height, width)
    boxes, labels = boxes[kept & ~objects.crowd], objects.labels[kept & ~objects.crowd]
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    largest = np.argsort(-areas, kind="stable")[:MAX_OBJECTS]
    return boxes[largest], labels[largest]
