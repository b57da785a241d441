"""What the models that learn from two views share: views in, normalised images out."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from pcd_tf.errors import UserError
from pcd_tf.layers import Photometric


class TwoViewModel(keras.Model):
    """A model that is whole when it is made, and trains on batches of two views.

    Under a strategy, Keras's `fit` would build the model from the mean of the replicas' first
    batch, and lose that batch. It fails on what is no number ("flips"), and nothing is unbuilt.

    Args:
        name: of the model.
        means: names of what `evaluate` gives, each a mean over all its batches.
    """

    def __init__(self, name: str, means: Sequence[str]) -> None:
        super().__init__(name=name)
        self._means = _Means(means)

    @property
    def metrics(self) -> list[Any]:
        """What `evaluate` gives; a training step logs more, and each step for itself."""
        return self._means.metrics

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        **options: Any,
    ) -> None:
        """Compiles the model; losses and metrics for labels are refused, as it has none."""
        given = {
            "loss": loss,
            "loss_weights": loss_weights,
            "metrics": metrics,
            "weighted_metrics": weighted_metrics,
        }
        for argument, value in given.items():
            if value is not None:
                raise UserError(
                    f"compile: expected no {argument}, as this model computes its own loss and "
                    f"metrics, without labels. Received: {argument}={value!r}. Leave it out."
                )
        super().compile(optimizer=optimizer, **options)

    def _mean_logs(self, weights: Any, **values: Any) -> dict[str, Any]:
        """Takes the values of a test step into the means, and returns these as they stand."""
        for metric in self.metrics:
            metric.update_state(values[metric.name], weights)
        return {metric.name: metric.result() for metric in self.metrics}

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        del iterator, data_batch
        with self.distribute_strategy.scope():
            self.optimizer.build(self.trainable_variables)


class _Means:
    """Means as a plain object, so that Keras counts none of their state as the model's."""

    def __init__(self, names: Sequence[str]) -> None:
        self.metrics = [keras.metrics.Mean(name) for name in names]


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
