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


def apply_gradients(
    optimizer: Any, gradients: Any, variables: Any, *, clip_norm: float | None = None
) -> None:
    """Applies the gradients of one replica; the optimizer sums them over all replicas.

    Under float16 a replica whose gradients overflow must make all of them skip the step, but
    Keras's LossScaleOptimizer looks at the gradients of the first replica only (measured with Keras
    3.15.1: an overflow on the second made the weights infinite). So they are told of it first.
    Keras's own clipping is by replica as well, before the sum: N replicas would be clipped at N
    times the norm.

    Args:
        optimizer: built; a LossScaleOptimizer under float16, its loss scaled by `scale_loss`.
        gradients: of this replica's part of the global loss.
        variables: in the same order.
        clip_norm: the largest norm of the whole gradient, of all variables over all replicas
            together; longer ones are shortened to it. None for any.
    """
    scaled = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    if scaled and num_replicas() > 1:
        finite = ops.all(ops.stack([ops.all(ops.isfinite(gradient)) for gradient in gradients]))
        all_finite = sum_over_replicas(ops.cast(finite, "float32")) == num_replicas()
        gradients = [ops.where(all_finite, gradient, float("inf")) for gradient in gradients]
    if clip_norm is not None:
        # The mean over replicas, on each: the optimizer's sum makes of it the global gradient.
        gradients = [sum_over_replicas(gradient) / num_replicas() for gradient in gradients]
        norm = tf.linalg.global_norm(gradients) * num_replicas()
        longest = clip_norm * (optimizer.dynamic_scale if scaled else 1.0)
        factor = ops.minimum(1.0, longest / norm)  # of an infinite norm 0, and inf * 0 is no number
        gradients = [gradient * factor for gradient in gradients]
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
