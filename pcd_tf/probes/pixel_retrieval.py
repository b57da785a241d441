"""`--probe=pixel_retrieval`: a pixel of one view finds the same place in another; no labels."""

from typing import Any

import numpy as np
import numpy.typing as npt
from keras import ops

from pcd_tf import data, errors
from pcd_tf.errors import UserError
from pcd_tf.layers import Photometric
from pcd_tf.probes import _features
from pcd_tf.probes._features import Network

IMAGES = "any"
MAIN = "pixel_retrieval_top1"

# [ours] BYOL's colours; crops large enough that most pairs overlap, and small enough that the same
# place in both views is seldom the same place of the image: else a network that knows no more than
# where in its view a pixel lies would score.
_VIEW = data.ViewRecipe(crop_area=(0.2, 0.6), blur=0.5)
RECIPE = data.Recipe(_VIEW, _VIEW)
POOL = 32  # images whose pixels are searched: [ours]
MOST_IMAGES = 256  # of a source, chosen at random: enough for a steady score, [ours]
_SEED = 0  # of the views, the same at each call: scores are comparable


@errors.translated()
def evaluate(
    network: Network,
    train: Any,
    held_out: data.Source,
    *,
    image_size: int,
    batch_size: int,
) -> dict[str, float]:
    """Scores the map of a network on two augmented views of each image; see `score`.

    Args:
        network: images -> map.
        train: not used: nothing is trained, and no labels are needed.
        held_out: the images, two at least.
        image_size: S, pixels a side of a view.
        batch_size: views computed at once.

    Returns:
        the mean over groups of POOL images, MOST_IMAGES at most, of what `score` returns. Images
        that fill no group are left out.
    """
    del train
    pool = min(POOL, held_out.num_examples)
    if pool < 2:
        raise UserError(
            f"Expected two images or more in {held_out.name}. Received: {held_out.num_examples}."
        )
    num_groups = min(held_out.num_examples, MOST_IMAGES) // pool
    batches = data.two_views(
        held_out, RECIPE, image_size=image_size, global_batch_size=pool, seed=_SEED
    ).take(num_groups)
    photometric = Photometric(dtype="float32")
    sums: dict[str, float] = {}
    for batch in _features.progress(batches.as_numpy_iterator(), num_groups, 1):
        maps = []
        for view in (0, 1):
            images = photometric(batch["images"][:, view], batch["photometric"][:, view])
            images = np.asarray(ops.round(ops.clip(images, 0, 255))).astype(np.uint8)
            parts = np.split(images, range(batch_size, pool, batch_size))
            maps.append(np.concatenate([network(part) for part in parts]))
        first, second = maps
        for name, value in score(first, second, batch["boxes"], batch["flips"]).items():
            sums[name] = sums.get(name, 0.0) + value / num_groups
    return sums


def score(
    first: npt.NDArray[np.float32],
    second: npt.NDArray[np.float32],
    boxes: npt.NDArray[np.float32],
    flips: npt.NDArray[np.bool_],
) -> dict[str, float]:
    """Looks for the pixel of the second view most like each pixel of the first, by cosine.

    It is right when it is the pixel in which the centre of the first lies. Pixels of the first view
    whose centre is outside of the second are left out.

    Shapes: B images, H x W pixels of a map, C channels.

    Args:
        first: float (B, H, W, C), maps of the first views.
        second: likewise, of the second.
        boxes: float (B, 2, 4), y0, x0, y1, x1 of both crops in the image, 0 to 1.
        flips: bool (B, 2), whether a crop was mirrored afterwards.

    Returns:
        pixel_retrieval_top1, the share found among the pixels of all B second views;
        pixel_retrieval_own_top1, among those of the image's own second view;
        pixel_retrieval_chance, what guessing gives for the first. NaN where no views overlap.
    """
    batch, height, width, channels = second.shape
    targets = _targets(boxes, flips, first.shape[1:3], (height, width))  # [B, H * W]
    queries, keys = (_features.unit(maps.reshape(batch, -1, channels)) for maps in (first, second))
    found, own, count = 0, 0, 0
    for i in range(batch):
        asked = targets[i] >= 0
        cosines = queries[i][asked] @ keys.reshape(-1, channels).T  # [pixels, B * H * W]
        right = targets[i][asked]
        found += int((cosines.argmax(axis=1) == right + i * height * width).sum())
        part = cosines[:, i * height * width : (i + 1) * height * width]
        own += int((part.argmax(axis=1) == right).sum()) if len(right) else 0
        count += len(right)
    scores = np.array([found, own]) / count if count else np.full(2, np.nan)
    return {
        "pixel_retrieval_top1": float(scores[0]),
        "pixel_retrieval_own_top1": float(scores[1]),
        "pixel_retrieval_chance": 1.0 / (batch * height * width),
    }


def _targets(
    boxes: npt.NDArray[np.float32],
    flips: npt.NDArray[np.bool_],
    size: tuple[int, ...],
    other_size: tuple[int, int],
) -> npt.NDArray[np.int64]:
    """The pixel of the second view that each of the first lies in, (B, H * W); -1 for none."""
    y, x = np.meshgrid(*((np.arange(n) + 0.5) / n for n in size), indexing="ij")
    points = np.stack([y.ravel(), x.ravel()], axis=-1)[None]  # [1, H * W, 2]
    points = _flipped(points, flips[:, 0])  # [B, H * W, 2]
    start, end = boxes[:, 0, None, :2], boxes[:, 0, None, 2:]
    points = start + points * (end - start)  # in the image
    start, end = boxes[:, 1, None, :2], boxes[:, 1, None, 2:]
    points = _flipped((points - start) / (end - start), flips[:, 1])
    inside = ((points >= 0) & (points < 1)).all(axis=-1)
    pixels = np.floor(points * np.array(other_size)).astype(np.int64)
    return np.where(inside, pixels[..., 0] * other_size[1] + pixels[..., 1], -1)


def _flipped(points: npt.NDArray[Any], flips: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
    x = np.where(flips[:, None], 1.0 - points[..., 1], points[..., 1])
    return np.stack([np.broadcast_to(points[..., 0], x.shape), x], axis=-1)
