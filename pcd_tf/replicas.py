"""What the train steps of all models share: sums over replicas, and gradients applied by all."""

from typing import Any

import keras
import tensorflow as tf
from keras import ops


def synchronize(layer: Any) -> None:
    """Takes BatchNorm statistics over all replicas, in every BatchNormalization of a layer.

    With one replica this is left off: it would change nothing but the time (some 10 % of a step).
    """
    for inner in layer._flatten_layers():  # those that a layer holds in attributes as well
        if isinstance(inner, keras.layers.BatchNormalization):
            inner.synchronized = num_replicas() > 1


def apply_gradients(optimizer: Any, gradients: Any, variables: Any) -> None:
    """Applies the gradients of one replica; the optimizer sums them over all replicas.

    Under float16 a replica whose gradients overflow must make all of them skip the step, but
    Keras's LossScaleOptimizer looks at the gradients of the first replica only (measured with Keras
    3.15.1: an overflow on the second made the weights infinite). So they are told of it first.
    """
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer) and num_replicas() > 1:
        finite = ops.all(ops.stack([ops.all(ops.isfinite(gradient)) for gradient in gradients]))
        all_finite = sum_over_replicas(ops.cast(finite, "float32")) == num_replicas()
        gradients = [ops.where(all_finite, gradient, float("inf")) for gradient in gradients]
    optimizer.apply_gradients(zip(gradients, variables, strict=True))


def num_replicas() -> int:
    """How many replicas run the step."""
    count: int = tf.distribute.get_strategy().num_replicas_in_sync
    return count


def sum_over_replicas(value: Any) -> Any:
    """Adds up a tensor over the replicas."""
    if num_replicas() == 1:
        return value
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, value)


def gather_over_replicas(value: Any) -> Any:
    """Stacks (N, ...) of every replica into (replicas * N, ...), the same everywhere."""
    if num_replicas() == 1:
        return value
    return tf.distribute.get_replica_context().all_gather(value, axis=0)
