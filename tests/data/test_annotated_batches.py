import json
from collections.abc import Sequence

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from pycocotools import mask as coco_mask

from pcd_tf import data
from pcd_tf.data import (
    NO_AUGMENTATION,
    Annotated,
    Annotation,
    Augmentation,
    annotated_batches,
    annotated_images,
    annotated_in_order,
)
from pcd_tf.data.synthetic import NUM_LABELLED
from pcd_tf.errors import UserError
from tests.data.coco_files import content, write
from tests.data.pictures import Pictures

SIZE = 48


def rectangles(images: Sequence[tuple[int, int, Sequence[Sequence[int]]]], crowd=()) -> Annotated:
    """Rectangles of one colour each on black; object k of an image is of class k."""
    drawn, annotations = [], []
    for index, (height, width, boxes) in enumerate(images):
        pixels = np.zeros((height, width, 3), np.uint8)
        for k, (x1, y1, x2, y2) in enumerate(boxes):
            pixels[y1:y2, x1:x2] = (100 + k, 255, 0)
        labels = np.arange(len(boxes))
        annotations.append(
            Annotation(
                index,
                height,
                width,
                np.array(boxes, np.float64).reshape(-1, 4),
                labels,
                np.isin(labels, crowd),
            )
        )
        drawn.append(pixels)
    names = [f"class {k}" for k in range(300)]
    return Annotated(Pictures("rectangles", drawn), annotations, class_names=names)


def taken(source, augmentation, count, start_step=0, batch=3, seed=1):
    stream = annotated_batches(
        source,
        augmentation,
        image_size=SIZE,
        global_batch_size=batch,
        seed=seed,
        start_step=start_step,
    )
    return list(stream.take(count).as_numpy_iterator())


def covered(image):
    """Finds the box of what is green in an image, to the half pixel: it is antialiased."""
    green = image[:, :, 1].astype(np.float64) / 255
    ys, xs = np.nonzero(green > 0.02)
    rows, columns = green.max(axis=1), green.max(axis=0)
    # The first and the last pixel count as much as they are covered.
    return np.array(
        [
            xs.min() + 1 - columns[xs.min()],
            ys.min() + 1 - rows[ys.min()],
            xs.max() + columns[xs.max()],
            ys.max() + rows[ys.max()],
        ]
    )


@pytest.mark.parametrize(("height", "width"), [(90, 60), (31, 77), (200, 211), (20, 30)])
def test_boxes_stay_on_their_objects(height, width):
    box = [width // 4, height // 3, width // 4 + width // 2, height // 3 + height // 3]
    source = rectangles([(height, width, [box])])
    augmentation = Augmentation(scale=(0.5, 2.0))
    num_cropped = num_seen = 0
    for batch in taken(source, augmentation, 12):
        for image, boxes, labels in zip(*(batch[k] for k in batch), strict=True):
            if labels[0] < 0:
                continue  # it was cropped off
            assert labels.tolist() == [0] + [-1] * 99
            assert not boxes[1:].any()
            # An edge that is enlarged is blurred, over half a pixel of the image.
            tolerance = max(1.0, SIZE / max(height, width))
            np.testing.assert_allclose(boxes[0], covered(image), atol=tolerance)
            num_cropped += boxes[0].min() == 0 or boxes[0].max() == SIZE
            num_seen += 1
    assert num_seen > 12
    assert num_cropped < num_seen


def test_mirroring_and_scales_are_drawn_as_asked():
    source = rectangles([(100, 100, [[30, 20, 50, 60]])])
    always = taken(source, Augmentation(flip=1.0, scale=(1.0, 1.0)), 1)[0]
    np.testing.assert_allclose(always["boxes"][:, 0], [[24.0, 9.6, 33.6, 28.8]] * 3, rtol=1e-5)
    drawn = np.concatenate([b["boxes"][:, 0] for b in taken(source, Augmentation(), 60)])
    heights = (drawn[:, 3] - drawn[:, 1]) / 19.2
    assert 0.79 < heights.min() < 0.82
    assert 1.18 < heights.max() < 1.21
    widths = drawn[:, 2] - drawn[:, 0]
    np.testing.assert_allclose(widths, heights * 9.6, rtol=1e-4)  # proportions are kept
    small = drawn[heights < 1]  # not cropped: x1 tells whether it was mirrored
    is_mirrored = small[:, 0] > 0.4 * SIZE * heights[heights < 1]
    assert 0.3 < is_mirrored.mean() < 0.7
    larger = drawn[heights > 1.1]  # cropped at more than one place
    assert len(np.unique(np.round(larger[:, 1] - 9.6 * heights[heights > 1.1]))) > 3


def test_without_augmentation_a_batch_is_what_evaluation_sees():
    source = rectangles([(90, 60, [[3, 5, 40, 50]]), (31, 77, []), (48, 48, [[0, 0, 48, 48]])])
    ordered = list(annotated_in_order(source, image_size=SIZE, batch_size=2).as_numpy_iterator())
    assert [len(batch["index"]) for batch in ordered] == [2, 1]
    whole = {key: np.concatenate([b[key] for b in ordered]) for key in ordered[0]}
    assert whole["index"].tolist() == [0, 1, 2]
    assert whole["size"].tolist() == [[90, 60], [31, 77], [48, 48]]
    assert {key: value.dtype.name for key, value in whole.items()} == {
        "images": "uint8",
        "index": "int64",
        "size": "int32",
    }
    for image, (height, width) in zip(whole["images"], [(48, 32), (19, 48), (48, 48)], strict=True):
        assert not image[height:].any()
        assert not image[:, width:].any()
    (batch,) = taken(source, NO_AUGMENTATION, 1)
    by_image = {image.tobytes(): row for row, image in enumerate(batch["images"])}
    rows = [by_image[image.tobytes()] for image in whole["images"]]
    expected = np.array([[3, 5, 40, 50], [0, 0, 0, 0], [0, 0, 48, 48]]) * [[48 / 90], [0], [1]]
    np.testing.assert_allclose(batch["boxes"][rows, 0], expected, rtol=1e-6)
    back = data.boxes_in_image(batch["boxes"][rows], whole["size"], SIZE)
    np.testing.assert_allclose(back[0, 0], [3, 5, 40, 50], rtol=1e-6)
    end = data.boxes_in_image(np.array([[[0, 0, 48, 19]]], np.float32), whole["size"][1:2], SIZE)
    np.testing.assert_allclose(end, [[[0, 0, 77, 31]]], rtol=1e-6)  # each axis by its own scale
    assert batch["labels"][rows, 0].tolist() == [0, -1, 0]
    (image,) = annotated_images(source, [2])
    np.testing.assert_array_equal(whole["images"][2], image)  # nothing to resize


def test_crowds_and_all_but_the_largest_are_left_out():
    boxes = [[0, 0, 5 + k // 20, 5 + k % 20] for k in range(130)]
    source = rectangles([(SIZE, SIZE, boxes)], crowd=[129, 128])
    (batch,) = taken(source, NO_AUGMENTATION, 1, batch=1)
    areas = [(b[2] * b[3], -k) for k, b in enumerate(boxes[:128])]
    largest = [-k for _, k in sorted(areas, reverse=True)[:100]]
    assert batch["labels"][0].tolist() == largest
    assert batch["labels"].dtype == np.int32
    np.testing.assert_array_equal(batch["boxes"][0], np.array(boxes)[largest])


def test_an_object_that_is_cropped_to_less_than_a_pixel_is_left_out():
    source = rectangles([(480, 480, [[0, 0, 480, 9], [0, 0, 480, 11]])])
    (batch,) = taken(
        source, NO_AUGMENTATION, 1, batch=1
    )  # a tenth of the size: 0.9 and 1.1 pixels high
    assert batch["labels"][0, :2].tolist() == [1, -1]


def test_a_resumed_stream_goes_on_where_it_was():
    source = rectangles([(60 + i, 50, [[i, 5, 30, 40]]) for i in range(5)])
    whole = taken(source, Augmentation(), 6)  # 18 images: three epochs and a part of the fourth
    for start_step in (1, 4, 5):
        resumed = taken(source, Augmentation(), 1, start_step=start_step)
        tf.nest.map_structure(np.testing.assert_array_equal, resumed[0], whole[start_step])
    other = taken(source, Augmentation(), 1, seed=2)
    assert (other[0]["images"] != whole[0]["images"]).any()
    firsts = [
        image.tobytes() for batch in taken(source, NO_AUGMENTATION, 5) for image in batch["images"]
    ]
    epochs = [firsts[:5], firsts[5:10], firsts[10:]]
    assert all(sorted(epoch) == sorted(epochs[0]) for epoch in epochs)  # each image once an epoch
    assert len({tuple(epoch) for epoch in epochs}) == 3


@pytest.mark.parametrize(("name", "mode"), [("0.jpg", "RGB"), ("0.png", "RGBA")])
def test_boxes_lie_on_an_image_that_is_decoded_smaller(tmp_path, name, mode):
    """By 2, 4 and 8 in the graph, by 3 and 7 in Python; none of them divides the sides."""
    written = content()
    written["images"] = [written["images"][0] | {"file_name": name, "height": 757, "width": 999}]
    written["annotations"] = [written["annotations"][0] | {"bbox": [301, 203, 450, 301]}]
    source = data.build_annotated("coco_json", data_dir=write(tmp_path, written), split="val")
    pixels = np.zeros((757, 999, 3), np.uint8)
    pixels[203:504, 301:751] = (0, 255, 0)
    Image.fromarray(pixels).convert(mode).save(tmp_path / name, quality=95, subsampling=0)
    for size in (400, 200, 100):
        stream = annotated_batches(
            source, Augmentation(), image_size=size, global_batch_size=4, seed=0
        )
        (batch,) = stream.take(1).as_numpy_iterator()
        for image, boxes in zip(batch["images"], batch["boxes"], strict=True):
            np.testing.assert_allclose(boxes[0], covered(np.where(image > 20, image, 0)), atol=1.0)


def test_an_image_of_many_more_pixels_than_the_batch_is_no_other_one(tmp_path):
    """A decoder that rounds sides up hides by how much it shrank them, if it shrinks too much."""
    written = content()
    written["images"] = [written["images"][0] | {"height": 1001, "width": 1001}]
    written["annotations"] = [written["annotations"][0] | {"bbox": [301, 203, 450, 301]}]
    source = data.build_annotated("coco_json", data_dir=write(tmp_path, written), split="val")
    Image.new("RGBA", (1001, 1001)).save(tmp_path / "first.png")
    stream = annotated_batches(source, NO_AUGMENTATION, image_size=32, global_batch_size=1, seed=0)
    (batch,) = stream.take(1).as_numpy_iterator()
    expected = np.array([301, 203, 751, 504]) * 32 / 1001
    np.testing.assert_allclose(batch["boxes"][0, 0], expected, atol=0.5)


def test_an_image_that_cannot_be_read_is_named(tmp_path):
    written = content()
    written["images"] = written["images"][:1]
    folder = write(tmp_path, written)
    source = data.build_annotated("coco_json", data_dir=folder, split="val")

    def read_all_ways(message):
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            taken(source, NO_AUGMENTATION, 1)
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            list(annotated_in_order(source, image_size=SIZE, batch_size=1))
        with pytest.raises(UserError, match=rf"\A{message}"):
            list(annotated_images(source, [0]))

    for width, height in ((30, 40), (400, 300)):
        Image.new("RGB", (width, height)).save(tmp_path / "first.png")
        read_all_ways(rf"Expected .*first\.png to be 40 x 30 pixels.* Received: {width} x {height}")
    (tmp_path / "first.png").write_bytes(b"no picture")
    read_all_ways(r"Cannot decode .*first\.png")


@pytest.mark.parametrize("name", ["synthetic", "coco_json"])
def test_ground_truth_is_json_of_what_the_objects_say(tmp_path, name, monkeypatch):
    monkeypatch.setitem(NUM_LABELLED, "val", 2)
    data_dir = write(tmp_path, content())
    source = data.build_annotated(name, data_dir=data_dir, split="val")
    truth = json.loads(json.dumps(source.coco()))
    assert [a["id"] for a in truth["annotations"]] == list(range(1, len(truth["annotations"]) + 1))
    for index in range(2):
        objects = source.objects(index)
        its = [a for a in truth["annotations"] if a["image_id"] == source.objects(index).image_id]
        boxes = np.array([a["bbox"] for a in its]).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        np.testing.assert_allclose(boxes, objects.boxes)
        labels = [source.category_ids.index(a["category_id"]) for a in its]
        assert labels == objects.labels.tolist()
        for annotation, mask in zip(its, source.masks(index) or (), strict=source.has_masks):
            assert annotation["area"] == coco_mask.area(mask)
            assert annotation["segmentation"] == mask


def test_an_unknown_source_is_named():
    assert data.names("annotated") == ("coco_json", "synthetic", "tfds", "tfrecord", "voc")
    message = "a source of annotated images: coco_json, .*Did you mean 'coco_json'"
    with pytest.raises(ValueError, match=message):
        data.build_annotated("coco-json", split="train")
