"""Which teacher pixel a student pixel learns from: the choices of `--pairing`.

Shapes: B images, two views each, H x W pixels, D embedding. Every pairing takes student and teacher
maps (B, 2, H, W, D) and the batch of views, and returns student pixels, teacher pixels, both
(B, 2, H, W, D), and weights float32 (B, 2): 0 where a pair has no meaning.
"""

from typing import Any

from keras import ops

from pcd_tf import correspondence

Pixels = tuple[Any, Any, Any]  # student, teacher, weights


def same(student: Any, teacher: Any, batch: Any) -> Pixels:
    """The same place in the same view: l(s1, t1) + l(s2, t2)."""
    del batch
    return student, teacher, ops.ones(ops.shape(student)[:2], "float32")


def index(student: Any, teacher: Any, batch: Any) -> Pixels:
    """The same row and column of the other view, as the authors' code: l(s1, t2) + l(s2, t1)."""
    del batch
    return student, teacher[:, ::-1], ops.ones(ops.shape(student)[:2], "float32")


def aligned(student: Any, teacher: Any, batch: Any) -> Pixels:
    """The same place of the image in the other view: l(s1, t2) + l(s2, t1) on the overlap."""
    boxes, flips = batch["boxes"], batch["flips"]
    height, width = student.shape[2:4]
    *points, weights = correspondence.overlap_grid(
        boxes[:, 0], flips[:, 0], boxes[:, 1], flips[:, 1], (height, width)
    )
    students = [correspondence.sample(student[:, view], points[view]) for view in (0, 1)]
    teachers = [correspondence.sample(teacher[:, view], points[view]) for view in (1, 0)]
    return (
        ops.stack(students, axis=1),  # [B, 2, H, W, D]
        ops.stack(teachers, axis=1),  # [B, 2, H, W, D]
        ops.stack([weights, weights], axis=1),  # [B, 2]
    )


PAIRINGS = {"same": same, "aligned": aligned, "index": index}
