"""The order of the images of an epoch, and the random numbers of one of them."""

from collections.abc import Mapping

import tensorflow as tf

Record = Mapping[str, tf.Tensor]  # what a stream tells of one example before it is made


def shuffled(num_examples: int, seed: int, start: int = 0) -> tf.data.Dataset:
    """Gives every number once an epoch, in a new order each, without end.

    The order is a function of (seed, epoch) that takes neither memory nor time to start anywhere: a
    cipher of the place (Black and Rogaway, "Ciphers with arbitrary finite domains", 2002).

    Args:
        num_examples: of an epoch.
        seed: of the order.
        start: how many to leave out.

    Returns:
        dicts: "epoch" and "index", int64 ().
    """

    def record(place: tf.Tensor) -> dict[str, tf.Tensor]:
        epoch = place // num_examples
        index = tf.random.experimental.index_shuffle(
            place % num_examples, tf.stack([tf.constant(seed, tf.int64), epoch]), num_examples - 1
        )
        return {"epoch": epoch, "index": index}

    return tf.data.Dataset.counter(start).map(record)


def uniform(seed: int, record: Record, shape: tuple[int, ...]) -> tf.Tensor:
    """Draws float32 from [0, 1) for one example in one epoch, whatever came before it."""
    # A seed has 32 bits (see pcd_tf.configs), and so the two numbers tell all three apart.
    first = tf.bitwise.left_shift(record["epoch"], tf.constant(32, tf.int64)) + seed
    return tf.random.stateless_uniform(shape, tf.stack([first, record["index"]]), alg="philox")
