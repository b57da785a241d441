"""What the train steps of all models share: views in, gradients out, sums over replicas."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from pcd_tf.layers import Photometric


class TwoViewModel(keras.Model):
    """A model that is whole when it is made, and trains on batches of two views.

    Under a strategy, Keras's `fit` would build the model from the mean of the replicas' first
    batch, and lose that batch. It fails on what is no number ("flips"), and nothing is unbuilt.
    """

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        del iterator, data_batch
        with self.distribute_strategy.scope():
            self.optimizer.build(self.trainable_variables)


class ViewsToImages(keras.layers.Layer):
    """Turns a batch of two views (see `pcd_tf.data.two_views`) into normalised images.

    Colour changes are applied here, on the accelerator. Shapes: B images, S pixels a side.

    Args:
        mean, std: three floats each, of images in 0..255.

    Call arguments:
        batch: dict with "images" uint8 (B, 2, S, S, 3) and "photometric" float32 (B, 2, 8).

    Returns:
        float32 (2 * B, S, S, 3), normalised; the two views of an image are neighbours.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], **kwargs: Any) -> None:
        super().__init__(dtype="float32", trainable=False, **kwargs)
        self.mean = tuple(mean)
        self.std = tuple(std)
        self.photometric = Photometric(dtype="float32")

    def call(self, batch: Any) -> Any:
        images = batch["images"]
        size = images.shape[2:]
        images = ops.reshape(images, (-1, *size))  # [2B, S, S, 3]
        parameters = batch["photometric"]
        parameters = ops.reshape(parameters, (-1, parameters.shape[-1]))  # [2B, 8]
        return (self.photometric(images, parameters) - self.mean) / self.std


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
