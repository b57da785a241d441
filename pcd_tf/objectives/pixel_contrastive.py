"""`--objective=pixel_contrastive`: each pixel finds its teacher's among the negatives."""

from typing import Any


def values(contrast: Any, student: Any, teacher: Any, negatives: Any) -> tuple[Any, Any, Any]:
    """Contrasts each pixel with its teacher's; the method of the paper.

    Source: Huang and Guo, "Pixel-Wise Contrastive Distillation", ICCV 2023, arXiv 2211.00218.
    """
    return contrast.with_scores(student, teacher, negatives)
