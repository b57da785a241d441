"""The order of the images of an epoch, and the random numbers of one of them."""

from collections.abc import Mapping

import tensorflow as tf

Record = Mapping[str, tf.Tensor]  # what a stream tells of one example before it is made

# With 4, TensorFlow's default, some places among 3 or 10 images are a tenth likelier than others.
_NUM_ROUNDS = 8


def shuffled(num_examples: int, seed: int, start: int = 0) -> tf.data.Dataset:
    """Gives every number once an epoch, in a new order each, without end.

    The order is a function of (seed, epoch) that takes neither memory nor time to start anywhere: a
    cipher of the place (Black and Rogaway, "Ciphers with arbitrary finite domains", 2002), SIMON
    (Beaulieu et al., 2013, eprint 2013/404).

    Args:
        num_examples: of an epoch.
        seed: of the order.
        start: how many to leave out.

    Returns:
        dicts: "epoch" and "index", int64 ().
    """

    def record(place: tf.Tensor) -> dict[str, tf.Tensor]:
        epoch = place // num_examples
        # The cipher reads no more bits of each of the key's three words than a place has: 8 for up
        # to 65,536 images. A key of plain numbers, as `tf.random.experimental.index_shuffle` takes,
        # would give 256 orders a seed.
        key = tf.random.stateless_uniform(
            (3,), tf.stack([seed, epoch]), None, None, tf.uint32, alg="philox"
        )
        index = tf.raw_ops.RandomIndexShuffle(
            index=place % num_examples,
            seed=key,
            max_index=tf.constant(num_examples - 1, tf.int64),
            rounds=_NUM_ROUNDS,
        )
        return {"epoch": epoch, "index": index}

    return tf.data.Dataset.counter(start).map(record)


def uniform(seed: int, record: Record, shape: tuple[int, ...]) -> tf.Tensor:
    """Draws float32 from [0, 1) for one example in one epoch, whatever came before it."""
    # A seed has 32 bits (see pcd_tf.configs), and so the two numbers tell all three apart.
    first = tf.bitwise.left_shift(record["epoch"], tf.constant(32, tf.int64)) + seed
    return tf.random.stateless_uniform(shape, tf.stack([first, record["index"]]), alg="philox")
