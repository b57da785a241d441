"""ProjectionHead: the MLP behind a backbone, on vectors or at each pixel."""

from typing import Any

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable(package="pcd_tf")
class ProjectionHead(layers.Layer):
    """Maps features to an embedding by an MLP, the head of MoCo v3 and of PCD.

    Dense -> BatchNormalization -> ReLU, repeated, then a last Dense.
    On a map the same MLP works at each pixel (a stack of 1x1 convolutions) and its
    BatchNormalization counts every pixel as an example. Dense layers carry no bias, as the
    BatchNormalization behind them has one, and MoCo v3's last layer has none either.
    Source: Chen, Xie, He, "An Empirical Study of Training Self-Supervised Vision Transformers",
    2021, arXiv 2104.02057, section 4; the authors' code of PCD uses the same block per pixel.

    Shapes: B images, H x W pixels (any), C channels in, D out.

    Args:
        hidden_units: int, width of the hidden layers.
        output_units: int, D.
        num_layers: int, number of Dense layers, at least 1; 2 by default.
        last_norm: bool, whether a BatchNormalization without scale and shift stands behind the
            last Dense, as in MoCo v3's projector; False by default.
        synchronized: bool, statistics over all replicas in training; False by default.

    Call arguments:
        inputs: float (B, C) or (B, H, W, C).
        training: bool, whether batch statistics are used.

    Returns:
        float (B, D) or (B, H, W, D), not normalised.

    Raises:
        ValueError: when num_layers is below 1.

    Example:
        >>> head = ProjectionHead(hidden_units=32, output_units=8)
        >>> head(keras.random.normal((2, 7, 7, 16))).shape
        TensorShape([2, 7, 7, 8])
    """

    def __init__(
        self,
        hidden_units: int,
        output_units: int,
        num_layers: int = 2,
        last_norm: bool = False,
        synchronized: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if num_layers < 1:
            raise ValueError(f"`num_layers` must be at least 1. Received: num_layers={num_layers}")
        self.hidden_units = hidden_units
        self.output_units = output_units
        self.num_layers = num_layers
        self.last_norm = last_norm
        self.synchronized = synchronized
        self.mlp = keras.Sequential(name="mlp")
        for i in range(num_layers - 1):
            self.mlp.add(self._dense(i, hidden_units))
            self.mlp.add(self._norm(i))
            self.mlp.add(layers.ReLU(name=f"relu_{i}", dtype=self.dtype_policy))
        last = num_layers - 1
        self.mlp.add(self._dense(last, output_units))
        if last_norm:
            self.mlp.add(self._norm(last, affine=False))

    def _dense(self, i: int, units: int) -> Any:
        return layers.Dense(units, use_bias=False, name=f"dense_{i}", dtype=self.dtype_policy)

    def _norm(self, i: int, affine: bool = True) -> Any:
        return layers.BatchNormalization(
            momentum=0.9,  # PyTorch's momentum 0.1 and epsilon 1e-5, as the published heads have
            epsilon=1e-5,
            center=affine,
            scale=affine,
            synchronized=self.synchronized,
            name=f"norm_{i}",
            dtype=self.dtype_policy,
        )

    @property
    def layers(self) -> list[Any]:
        """The plain Keras layers in order; `keras.Sequential(head.layers)` is a vector head."""
        return self.mlp.layers

    def build(self, input_shape: Any) -> None:
        self.mlp.build((None, input_shape[-1]))
        self.built = True

    def call(self, inputs: Any, training: bool = False) -> Any:
        shape = ops.shape(inputs)
        x = ops.reshape(inputs, (-1, inputs.shape[-1]))  # [B*H*W, C]
        x = self.mlp(x, training=training)
        return ops.reshape(x, (*shape[:-1], self.output_units))  # [B, (H, W,) D]

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (*input_shape[:-1], self.output_units)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "hidden_units": self.hidden_units,
            "output_units": self.output_units,
            "num_layers": self.num_layers,
            "last_norm": self.last_norm,
            "synchronized": self.synchronized,
        }
