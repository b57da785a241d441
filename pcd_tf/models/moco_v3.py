"""MoCoV3: pre-trains a teacher from images alone."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
from keras import ops

from pcd_tf import replicas
from pcd_tf.errors import UserError
from pcd_tf.layers import ProjectionHead
from pcd_tf.metrics import feature_spread
from pcd_tf.models import _step


class MoCoV3(_step.TwoViewModel):
    """Pre-trains a backbone and its projection head by MoCo v3.

    Queries q = predictor(head(pool(backbone))) of one view are contrasted with the keys of the
    other, made by a second encoder whose weights follow the first's by momentum; the other keys of
    the global batch are the negatives. Per image 2 T (cross-entropy of q1 against k2 plus of q2
    against k1). The momentum encoder runs with batch statistics, as in the authors' code, and is
    the result.
    Source: Chen, Xie, He, "An Empirical Study of Training Self-Supervised Vision Transformers",
    2021, arXiv 2104.02057, algorithm 1.

    Shapes: B images, two views each, S pixels a side; D embedding.

    Args:
        encoder: keras.Model of normalised images (N, S, S, 3) -> (N, D); trained.
        momentum_encoder: the same architecture; takes over the encoder's weights here.
        mean, std: three floats each, of images in 0..255.
        temperature: float; 1.0 by default, as published for ResNet-50.
        momentum: function of the step (int scalar) to the momentum; always 0.99 by default.
        hidden_units: int, of the predictor; 4096 by default, as published.

    Call arguments:
        inputs: float (N, S, S, 3), normalised.

    Returns:
        float (N, D), the queries, not normalised.

    Raises:
        UserError: when the encoder gives no vectors.

    Example:
        model = MoCoV3(encoder, momentum_encoder, mean=teacher.mean, std=teacher.std)
        model.compile(optimizer=LARS(0.6, weight_decay=1e-6))
        model.fit(pcd_tf.data.two_views(...), steps_per_epoch=100)
    """

    def __init__(
        self,
        encoder: Any,
        momentum_encoder: Any,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        temperature: float = 1.0,
        momentum: Callable[[Any], Any] = lambda step: 0.99,
        hidden_units: int = 4096,
    ) -> None:
        super().__init__("moco_v3", means=("loss", "retrieval_top1"))
        shape = getattr(encoder, "output_shape", None)
        if not isinstance(shape, tuple) or len(shape) != 2 or shape[-1] is None:
            raise UserError(
                "Expected an encoder that gives vectors (N, D), D known. Received: a "
                f"{type(encoder).__name__} that gives {shape or 'no known shape'}. Put the mean "
                "over the pixels and a head behind its backbone."
            )
        self.encoder = encoder
        self.momentum_encoder = momentum_encoder
        self.predictor = ProjectionHead(hidden_units, encoder.output_shape[-1], name="predictor")
        self.views_to_images = _step.ViewsToImages(mean, std)
        self.temperature = temperature
        self.momentum = momentum
        self.momentum_encoder.set_weights(self.encoder.get_weights())
        self.build((None, None, None, 3))
        for part in (self.encoder, self.momentum_encoder, self.predictor):
            replicas.synchronize(part)

    def build(self, input_shape: Any) -> None:
        del input_shape  # any images
        self.predictor.build(self.encoder.output_shape)
        self.built = True

    @property
    def trainable_variables(self) -> list[Any]:
        """What the gradients train: not the momentum encoder."""
        return [*self.encoder.trainable_variables, *self.predictor.trainable_variables]

    def call(self, inputs: Any, training: bool = False) -> Any:
        return self.predictor(self.encoder(inputs, training=training), training=training)

    def train_step(self, data: Any) -> dict[str, Any]:
        """One step on a replica's batch of views; returns what `fit` logs, means over replicas."""
        images = self.views_to_images(data)  # [2B, S, S, 3]
        view1, view2 = images[0::2], images[1::2]  # [B, S, S, 3]: BatchNorm sees a view at a time
        self._follow(self.momentum(self.optimizer.iterations))
        keys1 = self.momentum_encoder(view1, training=True)  # [B, D]
        keys2 = self.momentum_encoder(view2, training=True)
        with tf.GradientTape() as tape:
            queries1 = self(view1, training=True)  # [B, D]
            queries2 = self(view2, training=True)
            values1, found1 = self._contrast(queries1, keys2)
            values2, found2 = self._contrast(queries2, keys1)
            values = values1 + values2  # [B]
            global_count = replicas.sum_over_replicas(ops.sum(ops.ones_like(values)))
            loss = ops.sum(values) / global_count  # the one reduction
            scaled_loss = self.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled_loss, self.trainable_variables)
        replicas.apply_gradients(self.optimizer, gradients, self.trainable_variables)

        found = ops.sum(found1 + found2) / (2.0 * global_count)
        spread = feature_spread(queries1) / replicas.num_replicas()
        logs = replicas.sum_over_replicas(ops.stack([loss, found, spread]))  # [3]
        names = ("loss", "retrieval_top1", "feature_spread")
        return dict(zip(names, ops.unstack(logs, len(names)), strict=True))

    def test_step(self, data: Any) -> dict[str, Any]:
        """Contrasts a replica's batch of views in inference mode; no encoder moves."""
        images = self.views_to_images(data)  # [2B, S, S, 3]
        view1, view2 = images[0::2], images[1::2]  # [B, S, S, 3]
        keys1, keys2 = (self.momentum_encoder(x, training=False) for x in (view1, view2))  # [B, D]
        values1, found1 = self._contrast(self(view1, training=False), keys2)
        values2, found2 = self._contrast(self(view2, training=False), keys1)
        found = (found1 + found2) / 2.0  # [B]
        return self._mean_logs(None, loss=values1 + values2, retrieval_top1=found)

    def _contrast(self, queries: Any, keys: Any) -> tuple[Any, Any]:
        """Queries (B, D) against all replicas' keys: losses (B,) and whether found (B,)."""
        queries = ops.normalize(ops.cast(queries, "float32"), axis=-1)
        keys = ops.normalize(ops.cast(ops.stop_gradient(keys), "float32"), axis=-1)
        all_keys = replicas.gather_over_replicas(keys)  # [replicas * B, D]
        logits = ops.matmul(queries, ops.transpose(all_keys)) / self.temperature
        first = tf.distribute.get_replica_context().replica_id_in_sync_group * ops.shape(keys)[0]
        own = first + ops.arange(ops.shape(keys)[0])  # [B], the place of a query's own key
        values = ops.sparse_categorical_crossentropy(own, logits, from_logits=True)  # [B]
        found = ops.cast(ops.argmax(logits, axis=-1), own.dtype) == own
        return 2.0 * self.temperature * values, ops.cast(found, "float32")

    def _follow(self, momentum: Any) -> None:
        """Moves the momentum encoder's trainable weights towards the encoder's."""
        slow = [v.value for v in self.momentum_encoder.trainable_variables]
        fast = [v.value for v in self.encoder.trainable_variables]

        def move(strategy: Any, momentum: Any) -> None:
            for target, source in zip(slow, fast, strict=True):
                strategy.extended.update(
                    target,
                    lambda target, source, m: target.assign(m * target + (1.0 - m) * source),
                    args=(source, momentum),
                )

        tf.distribute.get_replica_context().merge_call(move, args=(ops.cast(momentum, "float32"),))
