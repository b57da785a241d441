"""Pictures of predictions: drawn with none, some and all kinds of objects."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pcd_tf.training import predictions, tensorboard_images


@pytest.mark.parametrize("has_masks", [False, True])
def test_boxes_and_masks_are_drawn_where_they_are(tmp_path, has_masks):
    image = np.full((40, 60, 3), 128, np.uint8)
    mask = np.zeros((1, 40, 60), bool)
    mask[0, 10:30, 20:50] = True
    shown = predictions.Boxes(
        image,
        true_boxes=np.array([[20.0, 10.0, 50.0, 30.0]]),
        true_classes=np.array([1]),
        boxes=np.zeros((0, 4)),
        classes=np.zeros(0, np.int64),
        scores=np.zeros(0),
        true_masks=mask if has_masks else None,
    )
    predictions.draw_boxes([shown], ["cat", "dog"], tmp_path / "p.png")
    picture = np.asarray(Image.open(tmp_path / "p.png").convert("RGB")).astype(int)
    left, right = np.array_split(picture, 2, axis=1)
    coloured = [(half.max(axis=-1) - half.min(axis=-1) > 40).sum() for half in (left, right)]
    assert coloured[0] > (5000 if has_masks else 200)  # a filled mask, or a frame
    assert coloured[1] == 0


def test_class_maps_are_drawn_and_sent_to_tensorboard(tmp_path):
    true = np.zeros((20, 30), np.uint8)
    true[:, 15:], true[0] = 20, 255
    one = predictions.ClassMaps(np.zeros((20, 30, 3), np.uint8), true, np.zeros_like(true))
    path = tmp_path / "maps.png"
    predictions.draw_class_maps([one, one], [f"class {i}" for i in range(21)], path)
    tensorboard_images.show(path, tmp_path / "tb", step=3)
    (events,) = (tmp_path / "tb").iterdir()
    tags = [
        value.tag
        for event in tf.compat.v1.train.summary_iterator(str(events))
        for value in event.summary.value
    ]
    assert tags == ["maps"]
