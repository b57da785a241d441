"""The pixel contrastive loss, streamed over the negatives."""

from typing import Any

import keras
from keras import ops

# float32 holds exp(x) down to about exp(-87). The streamed sum adds exp((s.n - 1) / T), whose
# smallest term is exp(-2 / T): temperatures below 2 / 87 would lose terms silently.
MIN_TEMPERATURE = 0.025

# Negatives multiplied at a time. Large enough for full matrix-unit use, small enough that a block
# of logits (pixels x BLOCK x 4 bytes) stays in a few tens of MB; see benchmarks/loss_memory.py.
BLOCK = 2048

# Vectors whose squared norm is not above this count as zero.
_ZERO = 1e-24


@keras.saving.register_keras_serializable(package="pcd_tf")
class PixelContrastiveLoss:
    """Contrasts each student pixel with its teacher pixel against a queue of negatives.

    For unit vectors s (student), t (teacher, same pixel) and n_k (negatives), per pixel:

        l = -log( exp(s.t / T) / ( exp(s.t / T) + sum_k exp(s.n_k / T) ) )

    Cosines are bounded by 1, so exp((s.n_k - 1) / T) needs no running maximum and one pass over the
    negatives adds up the sum and its gradient, block by block: a (pixels, K) array never exists.
    The values are not reduced: `train_step` divides by the global count of pixels.
    Source: Huang & Guo, "Pixel-Wise Contrastive Distillation", 2023, arXiv 2211.00218.

    Shapes: B images, H x W pixels, D embedding, K negatives.

    Args:
        temperature: float, T above, 0.2 by default (the authors' code). At least 0.025.

    Call arguments:
        student: float (B, H, W, D), any norm; the only input that gets a gradient.
        teacher: float (B, H, W, D), any norm.
        negatives: float (K, D), any norm.

    Returns:
        float32 (B, H, W), the loss of each pixel, not reduced.

    Raises:
        ValueError: when the temperature is too small, or when the shapes do not fit.

    Example:
        >>> loss = PixelContrastiveLoss(temperature=0.2)
        >>> maps = keras.random.normal((2, 7, 7, 16))
        >>> loss(maps, maps, keras.random.normal((64, 16))).shape
        TensorShape([2, 7, 7])
    """

    def __init__(self, temperature: float = 0.2) -> None:
        if not temperature >= MIN_TEMPERATURE:
            raise ValueError(
                f"`temperature` must be at least {MIN_TEMPERATURE}: below it, float32 loses terms "
                f"of the sum over negatives. Received: temperature={temperature}"
            )
        self.temperature = float(temperature)

    def __call__(self, student: Any, teacher: Any, negatives: Any) -> Any:
        return self.with_scores(student, teacher, negatives)[0]

    def with_scores(self, student: Any, teacher: Any, negatives: Any) -> tuple[Any, Any, Any]:
        """Returns the loss and, from the same pass, the cosines that the metrics need.

        Args:
            student: float (B, H, W, D), any norm.
            teacher: float (B, H, W, D), any norm.
            negatives: float (K, D), any norm.

        Returns:
            Three float32 (B, H, W): the loss, the cosine with the teacher's pixel, the cosine with
            the best negative. The cosines carry no gradient.
        """
        _check_shapes(student, teacher, negatives)
        size = ops.shape(student)[:3]
        dim = student.shape[-1]
        student = _unit(ops.reshape(student, (-1, dim)))  # [P, D], P = B*H*W
        teacher = ops.stop_gradient(_unit(ops.reshape(teacher, (-1, dim))))  # [P, D]
        negatives = ops.stop_gradient(ops.convert_to_tensor(negatives))  # [K, D]
        columns = _streamed(student, teacher, negatives, self.temperature)  # [P, 3]
        columns = ops.reshape(columns, (*size, 3))  # [B, H, W, 3]
        scores = ops.stop_gradient(columns)
        return columns[..., 0], scores[..., 1], scores[..., 2]

    def get_config(self) -> dict[str, Any]:
        return {"temperature": self.temperature}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "PixelContrastiveLoss":
        return cls(**config)


def _streamed(student: Any, teacher: Any, negatives: Any, temperature: float) -> Any:
    """[P, D], [P, D], [K, D] -> [P, 3]: loss, cosine with teacher, best cosine with a negative."""

    @ops.custom_gradient
    def compute(student: Any) -> Any:
        positive = ops.sum(student * teacher, axis=-1)  # [P]
        total, pull, best = _sum_over_negatives(student, negatives, temperature)
        own = ops.exp((positive - 1.0) / temperature)  # [P]
        total = total + own
        loss = ops.log(total) + (1.0 - positive) / temperature  # [P]
        gradient = (
            (pull + own[:, None] * teacher) / total[:, None] - teacher
        ) / temperature  # [P, D]

        def grad(*args: Any, upstream: Any = None) -> Any:
            if upstream is None:  # TensorFlow and JAX pass it by position, PyTorch by name
                (upstream,) = args
            return upstream[:, :1] * gradient  # [P, D]; the scores carry no gradient

        return ops.stack([loss, positive, best], axis=-1), grad  # [P, 3]

    return compute(student)


def _sum_over_negatives(student: Any, negatives: Any, temperature: float) -> tuple[Any, Any, Any]:
    """Adds up over all negatives, a block at a time.

    With e_k = exp((s.n_k - 1) / T), returns sum_k e_k (P,), sum_k e_k n_k (P, D) and the largest
    s.n_k (P,).
    """
    num_negatives = negatives.shape[0]
    num_blocks, rest = divmod(num_negatives, BLOCK)

    def add(block: Any, sums: Any) -> Any:
        total, pull, largest = sums
        block = _unit(block)  # [b, D]
        terms = ops.exp(
            ops.matmul(student / temperature, ops.transpose(block)) - 1.0 / temperature
        )  # [P, b]
        return (
            total + ops.sum(terms, axis=-1),
            pull + ops.matmul(terms, block),
            ops.maximum(largest, ops.max(terms, axis=-1)),
        )

    def add_numbered(i: Any, sums: Any) -> Any:
        return add(ops.slice(negatives, (i * BLOCK, 0), (BLOCK, negatives.shape[1])), sums)

    row = ops.zeros_like(student[:, 0])  # [P]
    sums = (row, ops.zeros_like(student), row)
    if num_blocks:
        sums = ops.fori_loop(0, num_blocks, add_numbered, sums)
    if rest:
        sums = add(negatives[num_blocks * BLOCK :], sums)
    total, pull, largest = sums
    return total, pull, 1.0 + temperature * ops.log(largest)


def _unit(vectors: Any) -> Any:
    """[N, D] -> [N, D] float32 of unit norm; zero vectors stay zero, their gradient moderate.

    `ops.normalize` multiplies the gradient of a zero vector by 1e7, and a pixel is zero as soon as
    no hidden unit of the prediction head is active there.
    """
    vectors = ops.cast(vectors, "float32")
    square = ops.sum(ops.square(vectors), axis=-1, keepdims=True)  # [N, 1]
    return vectors * ops.rsqrt(ops.where(square > _ZERO, square, 1.0))


def _check_shapes(student: Any, teacher: Any, negatives: Any) -> None:
    fits = (
        len(student.shape) == len(teacher.shape) == 4
        and len(negatives.shape) == 2
        and student.shape[-1] == teacher.shape[-1] == negatives.shape[-1]
        and all(
            a == b or None in (a, b)
            for a, b in zip(student.shape[:3], teacher.shape[:3], strict=True)
        )
    )
    if not fits or not negatives.shape[0]:
        raise ValueError(
            "`PixelContrastiveLoss` expects student and teacher maps of one shape (B, H, W, D) and "
            "at least one negative (K, D), K known. "
            f"Received: student {tuple(student.shape)}, teacher {tuple(teacher.shape)}, "
            f"negatives {tuple(negatives.shape)}"
        )
