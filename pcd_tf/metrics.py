"""Per-pixel measures of whether distillation learns, cheap enough for every step."""

from typing import Any

from keras import ops


def pixel_retrieval(positive: Any, best_negative: Any) -> Any:
    """Whether a student pixel finds its own teacher pixel before every negative.

    The mean of it is the retrieval top-1; guessing gives 1 / (1 + number of negatives).

    Args:
        positive: float (B, H, W), cosine of a student pixel with its teacher pixel.
        best_negative: float (B, H, W), its largest cosine with a negative.

    Returns:
        float32 (B, H, W), 1 where found, else 0.

    Example:
        >>> pixel_retrieval([[[0.9, 0.1]]], [[[0.5, 0.5]]]).numpy().tolist()
        [[[1.0, 0.0]]]
    """
    return ops.cast(ops.greater(positive, best_negative), "float32")


def feature_spread(vectors: Any) -> Any:
    """How far the embedding is from having collapsed to one vector.

    The root of the mean squared distance of the unit vectors to their mean: 0 when all are equal, 1
    when they point everywhere alike.

    Args:
        vectors: float (..., D), any norm.

    Returns:
        float32 scalar in 0..1.

    Example:
        >>> float(feature_spread([[1.0, 0.0], [-2.0, 0.0]]))
        1.0
    """
    vectors = ops.convert_to_tensor(vectors)
    vectors = ops.reshape(vectors, (-1, vectors.shape[-1]))  # [N, D]
    vectors = ops.normalize(ops.cast(vectors, "float32"), axis=-1)
    mean = ops.mean(vectors, axis=0)  # [D]
    return ops.sqrt(ops.mean(ops.sum(ops.square(vectors - mean), axis=-1)))
