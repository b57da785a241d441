"""LARS, the optimizer of the published recipes."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="pcd_tf")
class LARS(keras.optimizers.Optimizer):
    """Layer-wise adaptive rate scaling, as MoCo v3 uses it for large batches.

    For a parameter `w` of two or more dimensions with gradient `g`, in this order:

        g = g + weight_decay * w
        g = g * trust_coefficient * |w| / |g|      (as it is where either norm is 0)
        m = momentum * m + g
        w = w - learning_rate * m

    Parameters of one dimension (biases, scales and offsets of a normalisation) and scalars have
    neither decay nor trust ratio. The momentum holds gradients, not steps, so that a changing
    learning rate acts at once. Norms are taken in float32 and, under `tf.distribute`, of the
    gradient summed over the replicas.

    Source: You, Gitman, Ginsburg, "Large Batch Training of Convolutional Networks", 2017,
    arXiv 1708.03888; order and exclusions of Chen, Xie, He, MoCo v3, arXiv 2104.02057, its code.

    Args:
        learning_rate: float, schedule or callable. Large: the trust ratio makes steps small.
        momentum: share of the momentum that is kept, in [0, 1). Default of MoCo v3.
        weight_decay: L2 coefficient, part of the gradient. PCD has 1e-5, MoCo v3 1e-6.
            `exclude_from_weight_decay` is respected.
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

    def __init__(
        self,
        learning_rate: Any = 1.0,
        momentum: float = 0.9,
        weight_decay: float = 1e-5,
        trust_coefficient: float = 0.001,
        name: str = "lars",
        **kwargs: Any,
    ) -> None:
        if not 0.0 <= momentum < 1.0:
            raise ValueError(f"`momentum` must be in [0, 1). Received: momentum={momentum}.")
        if not weight_decay >= 0.0:
            raise ValueError(
                f"`weight_decay` must be 0 (none) or more. Received: weight_decay={weight_decay}."
            )
        if not trust_coefficient > 0.0:
            raise ValueError(
                "`trust_coefficient` must be more than 0. "
                f"Received: trust_coefficient={trust_coefficient}."
            )
        super().__init__(learning_rate, weight_decay=weight_decay, name=name, **kwargs)
        self.momentum = momentum
        self.trust_coefficient = trust_coefficient

    def build(self, variables: list[Any]) -> None:
        """Makes one momentum for each variable."""
        if self.built:
            return
        super().build(variables)
        self.momentums = self.add_optimizer_variables(variables, "momentum")

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Updates one variable and its momentum."""
        gradient = ops.cast(gradient, "float32")
        weight = ops.cast(variable, "float32")
        if len(variable.shape) > 1:
            if self._use_weight_decay(variable):
                gradient = gradient + self.weight_decay * weight
            gradient = gradient * self._trust_ratio(weight, gradient)
        slot = self.momentums[self._get_variable_index(variable)]
        momentum = self.momentum * ops.cast(slot, "float32") + gradient
        self.assign(slot, ops.cast(momentum, slot.dtype))
        step = ops.cast(learning_rate, "float32") * momentum
        self.assign_sub(variable, ops.cast(step, variable.dtype))

    def _trust_ratio(self, weight: Any, gradient: Any) -> Any:
        weight_norm = ops.sqrt(ops.sum(ops.square(weight)))
        gradient_norm = ops.sqrt(ops.sum(ops.square(gradient)))
        usable = ops.logical_and(weight_norm > 0.0, gradient_norm > 0.0)
        ratio = self.trust_coefficient * weight_norm / ops.where(usable, gradient_norm, 1.0)
        return ops.where(usable, ratio, 1.0)

    def _apply_weight_decay(self, variables: list[Any]) -> None:
        """Does nothing: Keras would shrink the weights here, LARS decays through the gradient."""

    def get_config(self) -> dict[str, Any]:
        config: dict[str, Any] = super().get_config()
        config.update(momentum=self.momentum, trust_coefficient=self.trust_coefficient)
        return config
