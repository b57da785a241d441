"""The end of every stream: examples made in parallel, in batches, ahead of their use."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from pcd_tf.data._order import Record

NUM_PREFETCHED = 2  # batches


def batches(
    records: tf.data.Dataset,
    example: Callable[[Record], dict[str, tf.Tensor]],
    batch_size: int,
    *,
    drop_remainder: bool,
) -> tf.data.Dataset:
    """Makes an example of each record, and batches of them, in the order of the records."""
    options = tf.data.Options()
    options.deterministic = True
    options.threading.max_intra_op_parallelism = 1  # examples are made side by side already
    examples = records.map(example, num_parallel_calls=tf.data.AUTOTUNE)
    examples = examples.batch(batch_size, drop_remainder=drop_remainder).prefetch(NUM_PREFETCHED)
    return examples.with_options(options)


def attempt(function: Callable[[Any], Any], inputs: Any, otherwise: Any) -> Any:
    """Calls a function of a graph; gives `otherwise`, of the same types, where it fails.

    In a graph only a dataset catches an error, so the call is a dataset of one element.
    """
    called = tf.data.Dataset.from_tensors(inputs).map(function).ignore_errors()
    return called.concatenate(tf.data.Dataset.from_tensors(otherwise)).take(1).get_single_element()
