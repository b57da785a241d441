"""What the tests of the detectors of one stage share: the loss by hand, and steps on replicas."""

import keras
import numpy as np
import tensorflow as tf

from tests.detectors import small


def build(kind, **options):
    """A compiled detector of the class `kind`; the same weights at each call."""
    keras.utils.set_random_seed(3)
    model = kind(small.backbone(), **{**small.OPTIONS, **options})
    optimizer = keras.optimizers.SGD(0.01, global_clipnorm=10.0)
    model.compile(optimizer=optimizer, jit_compile=False)
    return model


def tensors(batch):
    return {name: tf.constant(array) for name, array in batch.items()}


def losses_by_hand(model, batch):
    """The two losses by their definition, in NumPy: IoU, offsets, focal and smooth L1."""
    images = tf.constant(batch["images"])
    anchors = np.array(model.anchors(images), "float64")  # (A, 4)
    offsets, logits = (np.array(x, "float64") for x in model(images, training=True))
    probability = 1.0 / (1.0 + np.exp(-logits))
    class_loss, box_loss, num_positive = 0.0, 0.0, 0
    for i, labels in enumerate(batch["labels"]):
        boxes, labels = batch["boxes"][i][labels >= 0].astype("float64"), labels[labels >= 0]
        overlap = np.stack([iou(anchors, box) for box in boxes] + [np.zeros(len(anchors))], axis=1)
        best, value = overlap.argmax(1), overlap.max(1)
        positive, counts = value >= 0.5, (value >= 0.5) | (value < 0.4)
        target = np.zeros_like(logits[i])
        target[positive, labels[best[positive]]] = 1.0
        missed = np.where(target == 1.0, 1.0 - probability[i], probability[i])
        weight = np.where(target == 1.0, 0.25, 0.75)
        class_loss += (-weight * missed**2 * np.log(1.0 - missed))[counts].sum()
        if positive.any():
            expected = encoded(anchors[positive], boxes[best[positive]])
            distance = np.abs(expected - offsets[i, positive])
            l1 = np.where(distance < 1.0, 0.5 * distance**2, distance - 0.5)
            box_loss += l1.mean(-1).sum()
        num_positive += positive.sum()
    return class_loss / max(num_positive, 1), box_loss / max(num_positive, 1), num_positive


def iou(boxes, box):
    """Of boxes (n, 4) with one box (4,): (n,)."""
    sides = np.minimum(boxes[:, 2:], box[2:]) - np.maximum(boxes[:, :2], box[:2])
    both = sides.clip(0).prod(-1)
    return both / ((boxes[:, 2:] - boxes[:, :2]).prod(-1) + (box[2:] - box[:2]).prod() - both)


def encoded(anchors, boxes):
    """Offsets y, x in tenths of the anchor, and log-growth of height and width in fifths."""
    anchor_sides, sides = anchors[:, 2:] - anchors[:, :2], boxes[:, 2:] - boxes[:, :2]
    moves = (boxes[:, :2] + sides / 2 - anchors[:, :2] - anchor_sides / 2) / anchor_sides / 0.1
    growth = np.log(sides / anchor_sides) / 0.2
    return np.concatenate([moves[:, ::-1], growth[:, ::-1]], axis=1)


def step_on_replicas(kind, strategy, batch):
    """Trains a step on the halves of a batch, a half each replica; returns model and means.

    Runs eagerly: to trace the step for two replicas takes longer.
    """
    with strategy.scope():
        model = build(kind)
    half = len(batch["labels"]) // 2

    def part(context):
        start = context.replica_id_in_sync_group * half
        return tensors({name: array[start : start + half] for name, array in batch.items()})

    halves = strategy.experimental_distribute_values_from_function(
        lambda context: tuple(part(context).values())
    )
    names = tuple(batch)
    outputs = strategy.run(
        lambda *arrays: model.train_step(dict(zip(names, arrays, strict=True))), args=halves
    )
    means = strategy.reduce(tf.distribute.ReduceOp.MEAN, outputs, axis=None)
    return model, {name: float(value) for name, value in means.items()}


def overlap_of_two(first, second):
    return float(iou(np.array([first], "float64"), np.array(second, "float64"))[0])
