"""The model around every segmentation head: images in, cross-entropy per pixel, classes out."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from pcd_tf import replicas, students
from pcd_tf.data import IGNORED
from pcd_tf.errors import UserError

NetworkBuilder = Callable[[keras.Model, Mapping[str, keras.KerasTensor], int], keras.Model]

# Of the heads' BatchNorm, as of the backbones': Keras's default, 0.99, lags behind in short runs.
_NORM_MOMENTUM = 0.9


class Segmenter(keras.Model):
    """Gives every pixel a class. Whole when it is made; build and compile it in a strategy's scope.

    The loss is the cross-entropy of each pixel of the image (the logits are enlarged to it by
    bilinear interpolation), averaged over the pixels of the global batch that have a class.

    Shapes: B images of S x S pixels, K classes.

    Args:
        backbone: normalised images (B, S, S, 3) -> map; trained with the head.
        build_network: see `pcd_tf.segmenters`.
        class_names: of the ids 0, 1, ...
        mean: per channel, of RGB images in 0..255.
        std: likewise.
        name: of the model.

    Call arguments:
        images: uint8 or float (B, S, S, 3), 0..255.

    Returns:
        float32 (B, S, S, K), logits.

    Raises:
        UserError: when there is no class, or the network needs a level that the backbone has not.
    """

    def __init__(
        self,
        backbone: keras.Model,
        build_network: NetworkBuilder,
        *,
        class_names: Sequence[str],
        mean: Sequence[float],
        std: Sequence[float],
        name: str,
    ) -> None:
        super().__init__(name=name)
        if not class_names:
            raise UserError("Expected one class at least. Received: class_names without any.")
        self.class_names = tuple(class_names)
        self.backbone = backbone
        self._mean, self._std = tuple(mean), tuple(std)
        levels = students.pyramid(backbone)
        try:
            self.network = build_network(backbone, levels, len(self.class_names))
        except KeyError as error:
            raise UserError(
                f"Expected a backbone with the level {error} for {name}. Received: {backbone.name} "
                f"with {', '.join(levels) or 'none'}: choose another --model or another student."
            ) from error
        of_backbone = {id(layer) for layer in backbone._flatten_layers()}
        for layer in self.network._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization) and id(layer) not in of_backbone:
                layer.momentum = _NORM_MOMENTUM
        replicas.synchronize(self.network)
        self.built = True

    def call(self, images: Any, training: bool = False) -> Any:
        normalised = (ops.cast(images, "float32") - self._mean) / self._std
        logits = ops.cast(self.network(normalised, training=training), "float32")
        return ops.image.resize(logits, ops.shape(images)[1:3], interpolation="bilinear")

    def train_step(self, data: Any) -> dict[str, Any]:
        """One step on a replica's batch: "images" uint8 (B, S, S, 3), "maps" uint8 (B, S, S)."""
        labels = ops.cast(data["maps"], "int32")  # [B, S, S]
        weights = ops.cast(labels != IGNORED, "float32")  # [B, S, S]
        labels = ops.where(labels == IGNORED, 0, labels)
        global_count = ops.maximum(replicas.sum_over_replicas(ops.sum(weights)), 1.0)
        with tf.GradientTape() as tape:
            logits = self(data["images"], training=True)  # [B, S, S, K]
            values = ops.sparse_categorical_crossentropy(labels, logits, from_logits=True)
            loss = ops.sum(weights * values) / global_count  # the one reduction
            scaled_loss = self.optimizer.scale_loss(loss)
        variables = self.trainable_variables
        replicas.apply_gradients(self.optimizer, tape.gradient(scaled_loss, variables), variables)
        right = ops.cast(ops.argmax(logits, axis=-1) == labels, "float32")  # [B, S, S]
        accuracy = ops.sum(weights * right) / global_count
        sums = replicas.sum_over_replicas(ops.stack([loss, accuracy]))  # [2]
        return {"loss": sums[0], "pixel_accuracy": sums[1]}

    def segment(self, images: Any) -> Any:
        """Finds the class of every pixel: uint8 (B, S, S, 3) -> logits float32 (B, S, S, K)."""
        return self(images, training=False)
