"""NegativeQueue: the negatives of the last images, the same on every replica."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="pcd_tf")
class NegativeQueue(keras.layers.Layer):
    """First-in, first-out queue of unit vectors.

    Holds negatives of many more images than a batch has. Any number of keys may be enqueued at
    once; of more keys than places, the last ones stay. Under tf.distribute, gather the keys of all
    replicas before `enqueue`: then every replica writes the same vectors, and the queue stays one.
    Source: He et al., "Momentum Contrast for Unsupervised Visual Representation Learning", 2020,
    arXiv 1911.05722, section 3.1; size 65536 and random unit vectors at the start as the authors'
    code of PCD has.

    Shapes: K places, D embedding, N keys.

    Args:
        size: int, K.
        dim: int, D.
        seed: int or None, of the random unit vectors at the start.

    Raises:
        ValueError: when size or dim is not positive, or keys have another dimension.

    Example:
        >>> queue = NegativeQueue(size=8, dim=4)
        >>> queue.enqueue(keras.random.normal((3, 4)))
        >>> queue.vectors.shape
        (8, 4)
    """

    def __init__(self, size: int, dim: int, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(dtype="float32", trainable=False, **kwargs)
        if size < 1 or dim < 1:
            raise ValueError(f"`size` and `dim` must be positive. Received: size={size}, dim={dim}")
        self.size = size
        self.dim = dim
        self.seed = seed
        self.vectors = self.add_weight(
            name="vectors",
            shape=(size, dim),
            initializer=lambda shape, dtype: ops.normalize(
                keras.random.normal(shape, dtype=dtype, seed=seed), axis=-1
            ),
            trainable=False,
            aggregation="only_first_replica",
        )  # [K, D]
        self.next_place = self.add_weight(
            name="next_place",
            shape=(),
            dtype="int64",  # TensorFlow keeps an int32 on the host, out of a compiled step's reach
            initializer="zeros",
            trainable=False,
            aggregation="only_first_replica",
        )
        self.built = True

    def enqueue(self, keys: Any) -> None:
        """Writes keys (N, D), any norm, over the oldest vectors."""
        # Gathered keys come without a static shape; a wrong one of theirs fails at the update.
        if len(keys.shape) != 2 or keys.shape[-1] not in (None, self.dim):
            raise ValueError(
                f"`keys` must have shape (N, {self.dim}). Received: {tuple(keys.shape)}"
            )
        keys = ops.normalize(ops.cast(ops.stop_gradient(keys), "float32"), axis=-1)  # [N, D]
        num_keys = ops.cast(ops.shape(keys)[0], "int64")
        kept = keys[-self.size :]  # [min(N, K), D]
        num_kept = ops.cast(ops.shape(kept)[0], "int64")
        places = self.next_place + (num_keys - num_kept) + ops.arange(num_kept, dtype="int64")
        places = ops.expand_dims(places % self.size, axis=-1)  # [min(N, K), 1]
        self.vectors.assign(ops.scatter_update(self.vectors, places, kept))
        self.next_place.assign((self.next_place + num_keys) % self.size)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["dtype"], config["trainable"]
        return {**config, "size": self.size, "dim": self.dim, "seed": self.seed}
