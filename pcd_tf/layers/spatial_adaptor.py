"""SpatialAdaptor: a vector head at every pixel, its mean kept."""

import functools
from collections.abc import Callable
from typing import Any

import keras
from keras import activations, layers, ops


@keras.saving.register_keras_serializable(package="pcd_tf")
class SpatialAdaptor(layers.Layer):
    """Applies a vector projection head at every pixel, so that the mean keeps the head's meaning.

    A self-supervised teacher's head was trained on pooled vectors. The adaptor runs the same
    weights (shared, not copied) on a map, such that mean over pixels of adaptor(x) == head(mean
    over pixels of x). Dense and inference BatchNormalization are affine and commute with the mean
    as they are; an activation phi becomes a gate that the mean m decides, x * phi(m) / m, one for
    each image and channel: for ReLU x * [m > 0], GELU x * Phi(m), SiLU x * sigmoid(m), tanh
    x * tanh(m) / m. Always in inference mode.
    Source: Huang & Guo, "Pixel-Wise Contrastive Distillation", 2023, arXiv 2211.00218 (ReLU); the
    other activations are this project's.

    Shapes: B images, H x W pixels (any), C channels in, D out.

    Args:
        head: Keras model, ProjectionHead, or list of layers, (B, C) -> (B, D): Dense,
            BatchNormalization (with or without scale and shift) and activations, of any depth.
            Any other layer is opened by its `layers`, which must be all that it does, in order.
        gates: "mean" (default) as above, or "pixel": each pixel decides for itself, phi(x), so that
            the mean's meaning is lost; the plain head at every pixel, to compare with.

    Call arguments:
        inputs: float (B, H, W, C).

    Returns:
        float (B, H, W, D), not normalised.

    Raises:
        ValueError: when the head holds a layer that has no exact form on maps (it is named), or is
            no single chain of layers; when `gates` is unknown.

    Example:
        >>> dense = keras.layers.Dense
        >>> head = keras.Sequential([dense(8, activation="relu"), dense(4)])
        >>> SpatialAdaptor(head)(keras.random.normal((2, 7, 7, 16))).shape
        TensorShape([2, 7, 7, 4])
    """

    def __init__(self, head: Any, gates: str = "mean", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if gates not in DECIDED_BY:
            raise ValueError(
                f"`gates` must be one of {', '.join(DECIDED_BY)}. Received: gates={gates!r}"
            )
        if isinstance(head, (list, tuple)):
            head = keras.Sequential(list(head))
        _steps(head, gates)  # an unfit head is refused here rather than at the first call
        self.head = head
        self.gates = gates

    def build(self, input_shape: Any) -> None:
        if not self.head.built:
            self.head.build((None, input_shape[-1]))
        self.built = True

    def call(self, inputs: Any) -> Any:
        height, width = ops.shape(inputs)[1:3]
        x = ops.reshape(inputs, (-1, inputs.shape[-1]))  # [B*H*W, C]
        for step in _steps(self.head, self.gates):
            x = step(x, height * width)
        return ops.reshape(x, (-1, height, width, x.shape[-1]))  # [B, H, W, D]

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (*input_shape[:-1], self.head.compute_output_shape((None, input_shape[-1]))[-1])

    def get_config(self) -> dict[str, Any]:
        head = keras.saving.serialize_keras_object(self.head)
        return {**super().get_config(), "head": head, "gates": self.gates}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "SpatialAdaptor":
        config = dict(config)
        return cls(keras.saving.deserialize_keras_object(config.pop("head")), **config)


def _relu_gate(mean: Any) -> Any:
    return ops.cast(mean > 0, mean.dtype)


def _gelu_gate(mean: Any) -> Any:
    return 0.5 * (1.0 + ops.erf(mean / 2**0.5))


def _tanh_gate(mean: Any) -> Any:
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

# What may decide a gate: the mean over the map's pixels, or each pixel for itself.
DECIDED_BY = ("mean", "pixel")


def _steps(head: Any, gates: str) -> list[Callable[[Any, Any], Any]]:
    """The head as functions (pixels (B*H*W, C), number of pixels an image) -> (B*H*W, C')."""
    steps: list[Callable[[Any, Any], Any]] = []
    for layer in _chain(head):
        kind, activation = type(layer), None  # a subclass may compute something else
        if kind is layers.Dense:
            steps.append(functools.partial(_dense, layer))
            activation = layer.activation
        elif kind is layers.BatchNormalization:
            steps.append(functools.partial(_batch_normalization, layer))
        elif kind is layers.Activation:
            activation = layer.activation
        elif kind is layers.ReLU and not (
            layer.max_value is not None or layer.negative_slope or layer.threshold
        ):
            activation = activations.relu
        elif kind not in (layers.InputLayer, layers.Identity):
            raise _unsupported(layer, type(layer).__name__)
        if activation in GATES:
            gated = functools.partial(_gated, GATES[activation])
            steps.append(gated if gates == "mean" else functools.partial(_by_itself, activation))
        elif activation not in _LINEAR:
            raise _unsupported(layer, getattr(activation, "__name__", repr(activation)))
    return steps


def _chain(head: Any) -> list[Any]:
    """The plain layers of a head in their order, nested models and ProjectionHeads opened."""
    if not hasattr(head, "layers"):
        return [head]
    is_model = isinstance(head, keras.Model) and not isinstance(head, keras.Sequential)
    parts = _single_path(head) if is_model else head.layers
    return [plain for part in parts for plain in _chain(part)]


def _single_path(model: Any) -> list[Any]:
    """The layers of a functional model in the order of its calls, one layer perhaps twice.

    Refuses branches, and subclassed models, whose call cannot be read. Goes by the nodes of the
    model's graph: `layer.input` would be that of the layer's first call, maybe in another model.
    """
    nodes_by_depth = getattr(model, "_nodes_by_depth", {})
    nodes = [
        node for depth in sorted(nodes_by_depth, reverse=True) for node in nodes_by_depth[depth]
    ]
    num_inputs = [len(node.input_tensors) for node in nodes]
    # As many ends as beginnings, and nothing joined on the way: one chain.
    if not nodes or len(model.outputs) > 1 or num_inputs != [0] + [1] * (len(nodes) - 1):
        raise ValueError(
            "`SpatialAdaptor` expects a head that is one chain of layers: a Sequential, a "
            "functional model without branches, or a list of layers. "
            f"Received: {model.name!r}, which is not"
        )
    return [node.operation for node in nodes]


def _unsupported(layer: Any, what: str) -> ValueError:
    return ValueError(
        f"`SpatialAdaptor` has no exact form of layer {layer.name!r} on maps. Supported: Dense, "
        "BatchNormalization, Identity and the activations relu, gelu (exact), silu, tanh and "
        "linear, as layers or inside Dense. Remove or replace the layer. "
        f"Received: {what}"
    )


def _dense(layer: Any, x: Any, num_pixels: Any) -> Any:
    y = ops.matmul(x, ops.cast(layer.kernel, x.dtype))
    return y if layer.bias is None else y + ops.cast(layer.bias, x.dtype)


def _batch_normalization(layer: Any, x: Any, num_pixels: Any) -> Any:
    return ops.cast(layer(x, training=False), x.dtype)  # its dtype policy may be another


def _by_itself(activation: Any, x: Any, num_pixels: Any) -> Any:
    return activation(x)


def _gated(gate: Callable[[Any], Any], x: Any, num_pixels: Any) -> Any:
    maps = ops.reshape(x, (-1, num_pixels, x.shape[-1]))  # [B, H*W, C]
    mean = ops.mean(ops.cast(maps, "float32"), axis=1, keepdims=True)  # [B, 1, C]
    return ops.reshape(maps * ops.cast(gate(mean), x.dtype), ops.shape(x))  # [B*H*W, C]
