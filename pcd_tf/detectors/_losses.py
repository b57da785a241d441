"""The two losses of a detector of one stage, for each anchor by itself."""

from typing import Any

from keras import ops

# Lin et al. 2017 (arXiv 1708.02002), section 5.1: the pair that worked best.
_ALPHA, _GAMMA = 0.25, 2.0
# Girshick, "Fast R-CNN", 2015 (arXiv 1504.08083), equation 3.
_QUADRATIC_BELOW = 1.0


def focal(targets: Any, logits: Any) -> Any:
    """Computes the focal loss, summed over the classes.

    Computed from logits: a certain mistake has a gradient still, and nothing is clipped.
    Source: Lin et al., "Focal Loss for Dense Object Detection", 2017, arXiv 1708.02002, equation 5.

    Args:
        targets: float32 (..., K), 1 for the class of the object, else 0.
        logits: float32 (..., K).

    Returns:
        float32 (...).
    """
    probability = ops.sigmoid(logits)
    cross_entropy = ops.softplus(logits) - targets * logits
    missed = targets * (1.0 - probability) + (1.0 - targets) * probability  # 1 - p_t
    balance = targets * _ALPHA + (1.0 - targets) * (1.0 - _ALPHA)
    return ops.sum(balance * missed**_GAMMA * cross_entropy, axis=-1)


def smooth_l1(targets: Any, values: Any) -> Any:
    """Computes the smooth L1 loss, the mean of the four coordinates, as keras-cv 0.9 weighs it.

    Source: Girshick, "Fast R-CNN", 2015, arXiv 1504.08083, equation 3.

    Args:
        targets: float32 (..., 4).
        values: float32 (..., 4).

    Returns:
        float32 (...).
    """
    distance = ops.abs(targets - values)
    quadratic = 0.5 * distance**2
    return ops.mean(ops.where(distance < _QUADRATIC_BELOW, quadratic, distance - 0.5), axis=-1)
