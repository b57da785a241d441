import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from pcd_tf import annotated
from pcd_tf.errors import UserError
from tests.annotated.coco_files import content, write


def build(folder, written=None, **settings):
    if written is not None:
        write(folder, written)
    return annotated.build("coco_json", data_dir=str(folder), split="val", **settings)


def test_a_file_is_read_as_written(tmp_path):
    source = build(tmp_path, content())
    assert source.class_names == ("cat", "dog")  # by id, which need not be contiguous
    assert source.category_ids == (3, 5)
    assert source.num_examples == 2
    assert source.image(0).shape == (30, 40, 3)
    assert source.size(1) == (30, 40)
    assert [source.image_id(i) for i in range(2)] == [7, 9]
    assert [source.image_name(i) for i in range(2)] == ["first.png", "deep/second.png"]
    objects = source.objects(0)
    np.testing.assert_array_equal(objects.boxes, [[2, 3, 12, 9], [20, 5, 28, 13]])
    assert objects.labels.tolist() == [1, 0]
    assert objects.masks is None
    assert not source.has_masks
    empty = source.objects(1)
    assert empty.boxes.shape == (0, 4)
    assert empty.labels.shape == empty.crowd.shape == (0,)
    assert source.counts == {
        "num_objects": 2,
        "num_clipped": 0,
        "num_dropped": 0,
        "num_empty_images": 1,
        "num_beyond_max": 0,
    }
    truth = source.coco()
    assert json.loads(json.dumps(truth)) == truth
    assert truth["images"] == content()["images"]
    assert truth["annotations"] == content()["annotations"]  # area as annotated
    assert {c["id"]: c["name"] for c in truth["categories"]} == {3: "cat", 5: "dog"}


def test_boxes_are_clipped_or_dropped_and_counted(tmp_path, caplog):
    written = content()
    for box in ([-4, -4, 10, 10], [35, 5, 9, 9], [50, 5, 9, 9], [5, 5, 0, 9], [39.5, 0, 9, 9]):
        new = {"image_id": 9, "category_id": 3, "bbox": box, "iscrowd": 1}
        written["annotations"].append({"id": 10 + len(written["annotations"]), **new})
    source = build(tmp_path, written)
    objects = source.objects(1)
    np.testing.assert_array_equal(objects.boxes, [[0, 0, 6, 6], [35, 5, 40, 14]])
    assert objects.crowd.tolist() == [True, True]
    assert source.counts == {
        "num_objects": 4,
        "num_clipped": 2,
        "num_dropped": 3,
        "num_empty_images": 0,
        "num_beyond_max": 0,
    }
    assert "of 7 objects, 3 with less than a pixel" in caplog.text
    assert "2 are clipped" in caplog.text
    assert [a["area"] for a in source.coco()["annotations"]] == [50, 64, 36, 45]


def test_the_three_ways_to_write_a_mask_are_one(tmp_path):
    mask = np.zeros((30, 40), np.uint8)
    mask[3:9, 2:12] = 1
    compressed = coco_mask.encode(np.asfortranarray(mask))
    columns = mask.flatten("F")
    starts = np.flatnonzero(np.diff(columns)) + 1
    counts = np.diff(np.concatenate([[0], starts, [columns.size]])).tolist()
    written = content()
    first = written["annotations"][0]
    written["annotations"] = [
        {**first, "id": 1, "segmentation": [[2, 3, 12, 3, 12, 9, 2, 9], [0, 0, 1, 1]]},
        {**first, "id": 2, "segmentation": {"size": [30, 40], "counts": counts}},
        {
            **first,
            "id": 3,
            "segmentation": {"size": [30, 40], "counts": compressed["counts"].decode()},
        },
    ]
    source = build(tmp_path, written)
    assert source.has_masks
    for found in source.objects(0).masks:
        np.testing.assert_array_equal(coco_mask.decode(found), mask)
    json.dumps(source.coco())
    written["annotations"][0]["segmentation"] = []  # as many files write it: no mask
    assert not build(tmp_path, written).has_masks


@pytest.mark.parametrize("images", ["", "images", "val"])
def test_images_and_annotations_are_found_where_they_usually_lie(tmp_path, images):
    write(tmp_path, content(), images)
    assert build(tmp_path).image(1).shape == (30, 40, 3)
    (tmp_path / "annotations").mkdir()
    (tmp_path / "instances_val.json").rename(tmp_path / "annotations" / "instances_val.json")
    assert build(tmp_path).num_examples == 2
    file = (tmp_path / "annotations" / "instances_val.json").rename(tmp_path / "mine.json")
    assert build(tmp_path, annotations=str(file)).num_examples == 2
    with pytest.raises(UserError, match=r"no file .*/instances_val.json and .*annotations"):
        build(tmp_path)
    with pytest.raises(UserError, match=r"Received: no file .*/other.json. Give the JSON"):
        build(tmp_path, annotations=str(tmp_path / "other.json"))


def test_missing_images_are_named_and_counted(tmp_path, caplog):
    written = content()
    written["images"] += [
        {"id": 20 + i, "file_name": f"{i}.png", "height": 30, "width": 40} for i in range(4)
    ]
    write(tmp_path, written)
    for i in range(4):
        (tmp_path / f"{i}.png").unlink()
    message = r"the 6 images of .*json in .*: 4 of them are missing: 0.png, 1.png, 2.png, \.\.\.\."
    with pytest.raises(UserError, match=message):
        build(tmp_path)


WRONG = [
    ({"category_id": 4}, "annotation id 2 of .* a category id of 3, 5. Received: category id 4."),
    ({"image_id": 8}, "annotation id 2 of .* one of the 2 images. Received: image id 8."),
    ({"bbox": [1, 2, float("nan"), 4]}, r"annotation id 2 of .*finite.*Received: \[1, 2, nan, 4\]"),
    ({"bbox": [1, 2, float("inf"), 4]}, r"annotation id 2 of .*finite.*Received: \[1, 2, inf, 4\]"),
    ({"bbox": [1, 2, 3]}, r"annotation id 2 of .* four finite numbers, x, y, width, height"),
    ({"bbox": None}, "annotation id 2 of .* four finite numbers"),
    ({"area": float("nan")}, "annotation id 2 of .*Expected an area"),
    ({"id": 1}, "Expected annotation ids that occur once .* more than once: 1."),
    ({"segmentation": [[1, 2, 3, float("nan"), 5, 6]]}, "annotation id 2 .*polygon with NaN"),
    ({"segmentation": [[1, 2, 3, 4, 5, 6, 7]]}, "annotation id 2 .*no list of x and y"),
    ({"segmentation": {"size": [40, 30], "counts": "0"}}, r"annotation id 2 .*of size \[40, 30\]"),
    ({"segmentation": {"size": [30, 40], "counts": [3, 4]}}, "do not add up to the image"),
    ({"segmentation": {"size": [30, 40], "counts": "zzzzzz"}}, "do not add up"),
    ({"segmentation": "mask.png"}, "a segmentation of type str"),
]


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_a_wrong_annotation_is_named(tmp_path, change, message):
    written = content()
    written["annotations"][1] |= change
    with pytest.raises(ValueError, match=message):
        build(tmp_path, written)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("images", [], "Expected images in .*instances_val.json. Received: none."),
        ("images", None, "with lists images, annotations, categories.*without images."),
        ("images", content()["images"] + content()["images"][:1], "image ids .*more than once: 7."),
        ("images", [{"id": 7, "file_name": "first.png"}], "height and width in pixels of each"),
        ("categories", [], "Expected categories"),
        ("categories", [{"id": 3, "name": "a"}, {"id": 3, "name": "b"}], "category ids .*once: 3."),
        ("categories", [{"id": 3, "name": "a"}, {"id": 5, "name": "a"}], "category names .*: a."),
    ],
)
def test_a_wrong_file_is_named(tmp_path, key, value, message):
    write(tmp_path, content())
    (tmp_path / "instances_val.json").write_text(json.dumps({**content(), key: value}))
    with pytest.raises(ValueError, match=message):
        build(tmp_path)


def test_a_file_that_is_no_json_is_named(tmp_path):
    write(tmp_path, content())
    (tmp_path / "instances_val.json").write_text("<html>")
    with pytest.raises(ValueError, match="Expected JSON in .*instances_val.json. Received: "):
        build(tmp_path)


def test_an_image_of_another_size_than_annotated_is_named(tmp_path):
    source = build(tmp_path, content())
    other = content()
    other["images"][0] |= {"height": 40, "width": 30}
    write(tmp_path, other)
    with pytest.raises(ValueError, match="Expected .*first.png to be 40 x 30 pixels.*: 30 x 40"):
        source.image(0)


def test_photographs_and_nuclei(shared_images):
    photos = annotated.build("coco_json", data_dir=str(shared_images / "voc_mini"), split="test")
    assert photos.num_examples == 277
    assert photos.counts["num_objects"] == 586
    assert not photos.has_masks
    nuclei = annotated.build("coco_json", data_dir=str(shared_images / "nuclei"), split="test")
    assert nuclei.has_masks
    for index in range(10):
        objects = nuclei.objects(index)
        assert objects.masks is not None
        xywh = coco_mask.toBbox(list(objects.masks))
        np.testing.assert_array_equal(objects.boxes[:, :2], xywh[:, :2])
        np.testing.assert_array_equal(objects.boxes[:, 2:], xywh[:, :2] + xywh[:, 2:])
        np.testing.assert_array_equal(objects.measured_areas(), coco_mask.area(list(objects.masks)))
