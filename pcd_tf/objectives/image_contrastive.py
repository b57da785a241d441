"""`--objective=image_contrastive`: the image's mean finds its teacher's among the negatives."""

from typing import Any

from keras import ops


def values(contrast: Any, student: Any, teacher: Any, negatives: Any) -> tuple[Any, Any, Any]:
    """Contrasts the mean pixel of each view with its teacher's: where things lie is not learned.

    The teacher's mean pixel is its head's embedding of the pooled map (see SpatialAdaptor), and the
    negatives are such means as well: distillation of image-level representations, as before PCD.
    Source: the image-level counterpart of Huang and Guo, arXiv 2211.00218; Fang et al., "SEED",
    2021, arXiv 2101.04731, distils image vectors against a queue in a similar way.
    """
    pooled = [ops.mean(ops.cast(maps, "float32"), (1, 2), True) for maps in (student, teacher)]
    losses = contrast(*pooled, negatives)  # [N, 1, 1] of pooled vectors [N, 1, 1, D]
    _, positive, best = contrast.with_scores(ops.stop_gradient(student), teacher, negatives)
    return losses * ops.ones_like(positive), positive, best  # [N, H, W] each
