"""Mean IoU against counting by hand."""

import math

import numpy as np
import pytest

from pcd_tf.evaluation.segmentation import ConfusionMatrix


def test_scores_of_a_small_case_counted_by_hand():
    matrix = ConfusionMatrix(["a", "b", "c"])
    matrix.add(np.array([[0, 0, 1], [1, 1, 255]]), np.array([[0, 1, 1], [1, 0, 0]]))
    scores = matrix.scores()
    # a: 1 right of 2 true and 2 found; b: 2 right of 3 true and 3 found; c: nowhere.
    assert scores["by_class"]["a"] == pytest.approx(1 / 3)
    assert scores["by_class"]["b"] == pytest.approx(2 / 4)
    assert math.isnan(scores["by_class"]["c"])
    assert scores["mIoU"] == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert scores["pixel_accuracy"] == pytest.approx(3 / 5)
    assert scores["mean_accuracy"] == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_all_images_are_counted_at_once():
    one, both = ConfusionMatrix(["a", "b"]), ConfusionMatrix(["a", "b"])
    labels, found = np.array([[0, 1]]), np.array([[0, 0]])
    one.add(np.concatenate([labels, labels]), np.concatenate([found, 1 - found]))
    both.add(labels, found)
    both.add(labels, 1 - found)
    assert both.scores() == one.scores()


@pytest.mark.parametrize(
    ("labels", "found", "message"),
    [
        ([[0, 1]], [[0]], r"one shape. Received: \(1, 2\) and \(1, 1\)"),
        ([[0, 2]], [[0, 1]], "labels from 0 to 1. Received: 0 to 2"),
        ([[0, 1]], [[0, 7]], "predictions from 0 to 1. Received: 0 to 7"),
    ],
)
def test_what_cannot_be_counted_is_refused(labels, found, message):
    with pytest.raises(ValueError, match=message):
        ConfusionMatrix(["a", "b"]).add(np.array(labels), np.array(found))


def test_nothing_counted_is_no_number():
    scores = ConfusionMatrix(["a"]).scores()
    assert math.isnan(scores["mIoU"])
    assert math.isnan(scores["pixel_accuracy"])
