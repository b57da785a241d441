"""The optimizers of the published recipes: SGD with momentum, and LARS."""

import re
from typing import Any

import keras
from keras import ops

# What is no kernel, by the last part of a variable's path: biases, which in Keras's attention are
# (heads, dim); scales and offsets of any normalisation; tokens and positions, as timm's
# `no_weight_decay` has it. KerasHub keeps positions as the `embeddings` of a layer.
_NAMES = re.compile(r"(bias|gamma|beta|token|regist)[^/]*$|(?<![a-z])pos[^/]*(/embeddings)?$")


def is_regularised(variable: keras.Variable) -> bool:
    """Says whether a variable has weight decay and, with LARS, a trust ratio: a kernel has.

    MoCo v3's code asks for two dimensions or more, which tells kernels from the biases and
    normalisations of PyTorch's ResNets. Here the name must be that of no other kind, too.

    Example:
        >>> is_regularised(keras.Variable([[0.0]], name="bias"))
        False
    """
    return len(variable.shape) > 1 and not _NAMES.search(variable.path)


@keras.saving.register_keras_serializable(package="pcd_tf")
class SGD(keras.optimizers.Optimizer):
    """Stochastic gradient descent with momentum as the published recipes mean it.

    For a parameter `w` with gradient `g`, in this order:

        g = g + weight_decay * w                   (kernels alone: see `is_regularised`)
        m = momentum * m + g
        w = w - learning_rate * m

    The momentum sums up the decay as it does the gradient: over many steps it acts
    1 / (1 - momentum) times. Keras's own SGD has it beside the momentum, ten times weaker at 0.9.
    The momentum holds gradients, not steps, so that a changing learning rate acts at once.
    Source: `torch.optim.SGD`, which the recipes of MoCo, Detectron2 and PCD are written for.

    Args:
        learning_rate: float, schedule or callable.
        momentum: share of the momentum that is kept, in [0, 1).
        weight_decay: L2 coefficient, part of the gradient.
        name: name of the optimizer.
        **kwargs: those of `keras.optimizers.Optimizer`, such as `clipnorm`.

    Raises: ValueError: when a coefficient is outside its range.

    Example:
        >>> w = keras.Variable([[1.0]])
        >>> SGD(0.1, weight_decay=0.5).apply([keras.ops.array([[2.0]])], [w])
        >>> keras.ops.convert_to_numpy(w).tolist()  # 1 - 0.1 * (2 + 0.5 * 1)
        [[0.75]]
    """

    # A variable of the optimizer and nothing else, so that checkpoints of Keras's SGD do not fit:
    # its momentum sums up steps, and would be taken for gradients.
    _MARK: str | None = "sums_up_gradients"

    def __init__(
        self,
        learning_rate: Any = 0.01,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        name: str = "sgd",
        **kwargs: Any,
    ) -> None:
        if not 0.0 <= momentum < 1.0:
            raise ValueError(f"`momentum` must be in [0, 1). Received: momentum={momentum}.")
        if not weight_decay >= 0.0:
            raise ValueError(
                f"`weight_decay` must be 0 (none) or more. Received: weight_decay={weight_decay}."
            )
        super().__init__(learning_rate, name=name, **kwargs)
        self.momentum = momentum
        self.kernel_decay = weight_decay  # by `weight_decay` Keras would shrink all weights

    def build(self, variables: list[Any]) -> None:
        """Makes one momentum for each variable."""
        if self.built:
            return
        super().build(variables)
        if self._MARK is not None:
            self.add_variable((), name=self._MARK)
        self.momentums = self.add_optimizer_variables(variables, "momentum")

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Updates one variable and its momentum."""
        index = self._get_variable_index(variable)
        gradient = ops.cast(gradient, "float32")
        if is_regularised(self._trainable_variables[index]):  # `variable` may be TensorFlow's own
            weight = ops.cast(variable, "float32")
            gradient = self._scaled(gradient + self.kernel_decay * weight, weight)
        slot = self.momentums[index]
        momentum = self.momentum * ops.cast(slot, "float32") + gradient
        self.assign(slot, ops.cast(momentum, slot.dtype))
        step = ops.cast(learning_rate, "float32") * momentum
        self.assign_sub(variable, ops.cast(step, variable.dtype))

    def _scaled(self, gradient: Any, weight: Any) -> Any:
        """What a kernel's gradient becomes before the momentum."""
        del weight
        return gradient

    def get_config(self) -> dict[str, Any]:
        config: dict[str, Any] = super().get_config()
        config.update(momentum=self.momentum, weight_decay=self.kernel_decay)
        return config


@keras.saving.register_keras_serializable(package="pcd_tf")
class LARS(SGD):
    """Layer-wise adaptive rate scaling, as MoCo v3 uses it for large batches.

    For a kernel `w` with gradient `g`, in this order:

        g = g + weight_decay * w
        g = g * trust_coefficient * |w| / |g|      (as it is where either norm is 0)
        m = momentum * m + g
        w = w - learning_rate * m

    What is no kernel (see `is_regularised`) has neither decay nor trust ratio. Norms are taken in
    float32 and, under `tf.distribute`, of the gradient summed over the replicas.

    Source: You, Gitman, Ginsburg, "Large Batch Training of Convolutional Networks", 2017,
    arXiv 1708.03888; order and exclusions of Chen, Xie, He, MoCo v3, arXiv 2104.02057, its code.

    Args:
        learning_rate: float, schedule or callable. Large: the trust ratio makes steps small.
        momentum: share of the momentum that is kept, in [0, 1). Default of MoCo v3.
        weight_decay: L2 coefficient, part of the gradient. PCD has 1e-5, MoCo v3 1e-6.
        trust_coefficient: relative length of a step at rate 1. Default of MoCo v3.
        name: name of the optimizer.
        **kwargs: those of `keras.optimizers.Optimizer`, such as `clipnorm`.

    Raises: ValueError: when a coefficient is outside its range.

    Example:
        >>> w = keras.Variable([[3.0, 4.0]])
        >>> LARS(learning_rate=1.0, weight_decay=0.0).apply([keras.ops.array([[10.0, 0.0]])], [w])
        >>> keras.ops.convert_to_numpy(w).tolist()  # 1 * 0.001 * |w| = 0.005 along the gradient
        [[2.994999885559082, 4.0]]
    """

    _MARK = None  # Keras has no LARS, and checkpoints of earlier releases still fit

    def __init__(
        self,
        learning_rate: Any = 1.0,
        momentum: float = 0.9,
        weight_decay: float = 1e-5,
        trust_coefficient: float = 0.001,
        name: str = "lars",
        **kwargs: Any,
    ) -> None:
        if not trust_coefficient > 0.0:
            raise ValueError(
                "`trust_coefficient` must be more than 0. "
                f"Received: trust_coefficient={trust_coefficient}."
            )
        super().__init__(learning_rate, momentum, weight_decay, name, **kwargs)
        self.trust_coefficient = trust_coefficient

    def _scaled(self, gradient: Any, weight: Any) -> Any:
        weight_norm = ops.sqrt(ops.sum(ops.square(weight)))
        gradient_norm = ops.sqrt(ops.sum(ops.square(gradient)))
        usable = ops.logical_and(weight_norm > 0.0, gradient_norm > 0.0)
        ratio = self.trust_coefficient * weight_norm / ops.where(usable, gradient_norm, 1.0)
        return gradient * ops.where(usable, ratio, 1.0)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.update(trust_coefficient=self.trust_coefficient)
        return config
