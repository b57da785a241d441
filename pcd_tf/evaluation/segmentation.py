"""Mean intersection over union and pixel accuracy, from a confusion matrix."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pcd_tf.data import IGNORED
from pcd_tf.errors import UserError


class ConfusionMatrix:
    """Counts which class was found where which one is, over all pixels of all images.

    IoU of a class is its found-and-right pixels over those that are of it or were found as it;
    mIoU the mean over the classes that occur in the labels or in the predictions, over the whole
    set at once and not image by image, as PASCAL VOC does it.
    Source: Everingham et al., "The PASCAL Visual Object Classes Challenge", 2015, section 3.3.

    Args:
        class_names: of the ids 0, 1, ...

    Example:
        matrix = ConfusionMatrix(["background", "cat"])
        matrix.add(np.array([[0, 1]]), np.array([[0, 0]]))
        matrix.scores()["mIoU"]  # 0.25
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self.class_names = tuple(class_names)
        self.counts = np.zeros((len(class_names),) * 2, np.int64)  # [label, prediction]

    def add(self, labels: npt.NDArray[Any], predictions: npt.NDArray[Any]) -> None:
        """Counts pixels; both of one shape, labels IGNORED where they are not to be counted.

        Raises:
            UserError: when the shapes differ, or an id is none of the classes'.
        """
        labels, predictions = np.asarray(labels), np.asarray(predictions)
        if labels.shape != predictions.shape:
            raise UserError(
                "Expected labels and predictions of one shape. "
                f"Received: {labels.shape} and {predictions.shape}."
            )
        counted = labels != IGNORED
        labels, predictions = labels[counted].astype(np.int64), predictions[counted]
        count = len(self.class_names)
        for title, ids in (("labels", labels), ("predictions", predictions)):
            if ids.size and not 0 <= ids.min() <= ids.max() < count:
                raise UserError(
                    f"Expected {title} from 0 to {count - 1}. Received: {ids.min()} to {ids.max()}."
                )
        pairs = labels * count + predictions  # [pixels]
        self.counts += np.bincount(pairs, minlength=count**2).reshape(count, count)

    def scores(self) -> dict[str, Any]:
        """Returns mIoU, pixel_accuracy, mean_accuracy, and by_class: IoU by name.

        NaN where there is nothing to count: a class that neither occurs nor was found.
        """
        right = np.diag(self.counts).astype(float)
        occurs, found = self.counts.sum(axis=1), self.counts.sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            iou = right / (occurs + found - right)
            accuracy = right / occurs
            overall = right.sum() / np.float64(self.counts.sum())
        return {
            "mIoU": _mean(iou),
            "pixel_accuracy": float(overall),
            "mean_accuracy": _mean(accuracy),
            "by_class": dict(zip(self.class_names, iou.tolist(), strict=True)),
        }


def _mean(values: npt.NDArray[Any]) -> float:
    """The mean of what is not NaN; NaN when all is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
