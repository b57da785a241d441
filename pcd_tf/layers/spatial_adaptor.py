"""SpatialAdaptor: a vector head at every pixel, its mean kept."""

import functools
import itertools

import keras
from keras import activations, layers, ops


@keras.saving.register_keras_serializable(package="pcd_tf")
class SpatialAdaptor(layers.Layer):
    """Applies a vector projection head at every pixel, so that the mean keeps the head's meaning.

    A self-supervised teacher's head was trained on pooled vectors. The adaptor runs the same weights
    (shared, not copied) on a map, such that mean over pixels of adaptor(x) == head(mean over pixels
    of x). Dense and inference BatchNormalization are affine and commute with the mean as they are; an
    activation phi becomes a gate that the mean m decides, x * phi(m) / m, one for each image and
    channel: for ReLU x * [m > 0], GELU x * Phi(m), SiLU x * sigmoid(m), tanh x * tanh(m) / m.
    Always in inference mode.
    Source: Huang & Guo, "Pixel-Wise Contrastive Distillation", 2023, arXiv 2211.00218 (ReLU); the
    other activations are this project's.

    Shapes: B images, H x W pixels (any), C channels in, D out.

    Args:
        head: Keras model, ProjectionHead, or list of layers, (B, C) -> (B, D): Dense,
            BatchNormalization (with or without scale and shift) and activations, of any depth.

    Call arguments:
        inputs: float (B, H, W, C).

    Returns:
        float (B, H, W, D), not normalised.

    Raises:
        ValueError: when the head holds a layer that has no exact form on maps; it is named.

    Example:
        >>> head = keras.Sequential([keras.layers.Dense(8, activation="relu"), keras.layers.Dense(4)])
        >>> SpatialAdaptor(head)(keras.random.normal((2, 7, 7, 16))).shape
        TensorShape([2, 7, 7, 4])
    """

    def __init__(self, head, **kwargs):
        super().__init__(**kwargs)
        if isinstance(head, (list, tuple)):
            head = keras.Sequential(list(head))
        self.head = head
        if head.built:
            _steps(head)  # an unfit head is refused here rather than at the first call

    def build(self, input_shape):
        if not self.head.built:
            self.head.build((None, input_shape[-1]))
        _steps(self.head)
        self.built = True

    def call(self, inputs):
        height, width = ops.shape(inputs)[1:3]
        x = ops.reshape(inputs, (-1, inputs.shape[-1]))  # [B*H*W, C]
        for step in _steps(self.head):
            x = step(x, height * width)
        return ops.reshape(x, (-1, height, width, x.shape[-1]))  # [B, H, W, D]

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.head.compute_output_shape((None, input_shape[-1]))[-1])

    def get_config(self):
        return {**super().get_config(), "head": keras.saving.serialize_keras_object(self.head)}

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        return cls(keras.saving.deserialize_keras_object(config.pop("head")), **config)


def _relu_gate(mean):
    return ops.cast(mean > 0, mean.dtype)


def _gelu_gate(mean):
    return 0.5 * (1.0 + ops.erf(mean / 2**0.5))


def _tanh_gate(mean):
    small = ops.abs(mean) < 1e-3  # tanh(m) / m = 1 - m^2 / 3 + O(m^4): exact in float32 here
    safe = ops.where(small, ops.ones_like(mean), mean)
    return ops.where(small, 1.0 - ops.square(mean) / 3.0, ops.tanh(safe) / safe)


# phi -> phi(m) / m in a form that is stable at m = 0.
GATES = {
    activations.relu: _relu_gate,
    activations.gelu: _gelu_gate,
    activations.silu: ops.sigmoid,
    activations.tanh: _tanh_gate,
}


_LINEAR = (None, activations.linear)


def _steps(head):
    """The head as functions (pixels (B*H*W, C), number of pixels an image) -> (B*H*W, C')."""
    steps = []
    for layer in _chain(head):
        activation = None
        if isinstance(layer, layers.Dense):
            steps.append(functools.partial(_dense, layer))
            activation = layer.activation
        elif isinstance(layer, layers.BatchNormalization):
            steps.append(functools.partial(_batch_normalization, layer))
        elif isinstance(layer, layers.Activation):
            activation = layer.activation
        elif isinstance(layer, layers.ReLU) and not (
            layer.max_value is not None or layer.negative_slope or layer.threshold
        ):
            activation = activations.relu
        elif not isinstance(layer, layers.InputLayer | layers.Identity):
            raise _unsupported(layer, type(layer).__name__)
        if activation in GATES:
            steps.append(functools.partial(_gated, GATES[activation]))
        elif activation not in _LINEAR:
            raise _unsupported(layer, getattr(activation, "__name__", repr(activation)))
    return steps


def _chain(head):
    """The plain layers of a head in their order, nested models and ProjectionHeads opened."""
    if not hasattr(head, "layers"):
        return [head]
    if isinstance(head, keras.Model) and not isinstance(head, keras.Sequential):
        _check_single_path(head)
    return [plain for layer in head.layers for plain in _chain(layer)]


def _check_single_path(model):
    """Refuses functional models with branches, and subclassed ones, whose call cannot be read."""
    is_functional = hasattr(model, "operations")
    chained = is_functional and all(
        after.input is before.output for before, after in itertools.pairwise(model.layers)
    )
    if not chained or len(model.operations) != len(model.layers):
        raise ValueError(
            "`SpatialAdaptor` expects a head that is one chain of layers: a Sequential, a functional "
            f"model without branches, or a list of layers. Received: {model.name!r}, which is not"
        )


def _unsupported(layer, what):
    return ValueError(
        f"`SpatialAdaptor` has no exact form of layer {layer.name!r} on maps. Supported: Dense, "
        "BatchNormalization, Identity and the activations relu, gelu (exact), silu, tanh and linear, "
        f"as layers or inside Dense. Remove or replace the layer. Received: {what}"
    )


def _dense(layer, x, num_pixels):
    x = ops.matmul(x, layer.kernel)
    return x if layer.bias is None else x + layer.bias


def _batch_normalization(layer, x, num_pixels):
    return layer(x, training=False)


def _gated(gate, x, num_pixels):
    maps = ops.reshape(x, (-1, num_pixels, x.shape[-1]))  # [B, H*W, C]
    mean = ops.mean(ops.cast(maps, "float32"), axis=1, keepdims=True)  # [B, 1, C]
    return ops.reshape(maps * ops.cast(gate(mean), x.dtype), ops.shape(x))  # [B*H*W, C]
