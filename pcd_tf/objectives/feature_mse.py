"""`--objective=feature_mse`: each pixel predicts its teacher's embedding, without negatives."""

from typing import Any

from keras import ops

_EPSILON = 1e-6  # [ours]: keeps a teacher pixel with one value in all channels finite


def values(contrast: Any, student: Any, teacher: Any, negatives: Any) -> tuple[Any, Any, Any]:
    """Regresses the student's pixels on the teacher's, standardised: the mean squared error.

    Each teacher pixel is shifted and scaled over its D channels to mean 0 and variance 1, so that
    no teacher's scale decides the size of the loss: it is 1 for a student that says 0, and 0 for a
    perfect one. The student's pixels are taken as they are. The negatives serve the metrics alone.
    Source: the standardised target is Wei et al., "Contrastive Learning Rivals Masked Image
    Modeling in Fine-tuning via Feature Distillation", 2022, arXiv 2205.14141, section 3 (there
    with a smooth L1 loss).
    """
    target = ops.stop_gradient(ops.cast(teacher, "float32"))  # [N, H, W, D]
    centred = target - ops.mean(target, axis=-1, keepdims=True)
    variance = ops.mean(ops.square(centred), axis=-1, keepdims=True)
    target = centred * ops.rsqrt(variance + _EPSILON)
    losses = ops.mean(ops.square(ops.cast(student, "float32") - target), axis=-1)  # [N, H, W]
    _, positive, best = contrast.with_scores(ops.stop_gradient(student), teacher, negatives)
    return losses, positive, best
