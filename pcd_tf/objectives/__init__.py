"""What a student is trained for against its teacher, one objective a file.

Shapes: N views, H x W pixels of a map, D embedding, K negatives.

A file has one function, `values(contrast, student, teacher, negatives)`: the temperature's
`PixelContrastiveLoss`, two maps (N, H, W, D), which are paired pixel by pixel, and the queue
(K, D). It returns three float32 (N, H, W): the losses, not reduced, of which the student alone gets
a gradient; and the cosines of each pixel with its teacher's and with the best negative, from which
the metrics come, the same whatever is trained for. A loss of a whole view stands at each of its
pixels, so that the mean over pixels is the mean over views.
"""

from collections.abc import Callable
from typing import Any

from pcd_tf import plugins

Values = tuple[Any, Any, Any]  # losses, cosine with the teacher, best cosine with a negative


def names() -> tuple[str, ...]:
    """Lists the objectives: the choices of `--objective`."""
    return plugins.names(__name__)


def build(name: str) -> Callable[[Any, Any, Any, Any], Values]:
    """Returns the function of an objective.

    Raises:
        ValueError: when there is no such objective, naming the choices and the nearest.

    Example:
        losses, positive, best = build("feature_mse")(contrast, student, teacher, negatives)
    """
    values: Callable[[Any, Any, Any, Any], Values] = plugins.load(__name__, name).values
    return values
