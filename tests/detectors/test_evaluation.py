"""What a detector is scored by: its boxes are brought back to the images' own pixels."""

import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pcd_tf import data, detectors

SIZE = 32


@pytest.fixture
def source(tmp_path):
    """Three images of different shapes and sizes with a bright rectangle, one with nothing."""
    (tmp_path / "val").mkdir()
    images, annotations = [], []
    for number, (height, width) in enumerate([(40, 80), (64, 48), (30, 30), (50, 20)]):
        pixels = np.zeros((height, width, 3), np.uint8)
        if number < 3:
            x, y, w, h = width // 4, height // 5, width // 2, height // 2
            pixels[y : y + h, x : x + w] = 255
            annotations.append(
                {"id": number + 1, "image_id": number, "category_id": 3, "bbox": [x, y, w, h]}
                | {"area": w * h, "iscrowd": 0}
            )
        Image.fromarray(pixels).save(tmp_path / "val" / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "height": height})
        images[-1]["width"] = width
    content = {"images": images, "annotations": annotations}
    content["categories"] = [{"id": 3, "name": "bright"}]
    (tmp_path / "instances_val.json").write_text(json.dumps(content))
    return data.build_annotated("coco_json", data_dir=str(tmp_path), split="val")


class Oracle:
    """Finds the bright rectangle of each padded image, to the pixel, and nothing else."""

    def detect(self, images):
        bright = tf.reduce_mean(tf.cast(images, tf.float32), axis=-1) > 127  # [B, S, S]

        def ends(mask):
            places = tf.range(SIZE, dtype=tf.float32)
            first = tf.reduce_min(tf.where(mask, places, float(SIZE)), axis=1)
            return first, tf.reduce_max(tf.where(mask, places + 1, 0.0), axis=1)

        left, right = ends(tf.reduce_any(bright, axis=1))
        top, bottom = ends(tf.reduce_any(bright, axis=2))
        boxes = tf.stack([left, top, right, bottom], axis=-1)[:, None]  # [B, 1, 4]
        count = tf.cast(tf.reduce_any(bright, axis=(1, 2)), tf.int32)
        return {
            "boxes": boxes,
            "scores": tf.ones(tf.shape(boxes)[:2]),
            "classes": tf.zeros(tf.shape(boxes)[:2], tf.int32),
            "count": count,
        }


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_boxes_come_back_to_the_images_own_pixels(source, batch_size):
    found = detectors.evaluate(Oracle(), source, image_size=SIZE, batch_size=batch_size)
    results = found.results()
    assert [result["image_id"] for result in results] == [0, 1, 2]  # no box where nothing is
    for index, result in enumerate(results):
        x1, y1, x2, y2 = source.objects(index).boxes[0]
        pixel = max(source.size(index)) / SIZE  # of the image that one of the padded takes
        np.testing.assert_allclose(result["bbox"], [x1, y1, x2 - x1, y2 - y1], atol=1.01 * pixel)
    assert found.scores()["AP50"] == 1.0
