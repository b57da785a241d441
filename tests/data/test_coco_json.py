import json
import math
import os
import re
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from pcd_tf import data
from pcd_tf.data import _segmentation
from pcd_tf.errors import UserError
from pcd_tf.evaluation.detection import Detections
from tests.data.coco_files import content, write


def build(folder, written=None, **settings):
    if written is not None:
        write(folder, written)
    return data.build_annotated("coco_json", data_dir=str(folder), split="val", **settings)


def test_a_file_is_read_as_written(tmp_path):
    source = build(tmp_path, content())
    assert source.class_names == ("cat", "dog")  # by id, which need not be contiguous
    assert source.category_ids == (3, 5)
    assert source.num_examples == 2
    assert [image.shape for image in data.annotated_images(source, range(2))] == [(30, 40, 3)] * 2
    assert source.size(1) == (30, 40)
    assert [source.objects(i).image_id for i in range(2)] == [7, 9]
    assert [source.image_name(i) for i in range(2)] == ["first.png", "deep/second.png"]
    objects = source.objects(0)
    np.testing.assert_array_equal(objects.boxes, [[2, 3, 12, 9], [20, 5, 28, 13]])
    assert objects.labels.tolist() == [1, 0]
    assert source.masks(0) is None
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
    boxes, kept = source.objects(1).inside()
    np.testing.assert_array_equal(boxes[kept], [[0, 0, 6, 6], [35, 5, 40, 14]])
    assert source.counts == {
        "num_objects": 4,
        "num_clipped": 2,
        "num_dropped": 3,
        "num_empty_images": 0,
        "num_beyond_max": 0,
    }
    assert "of 7 objects, 3 with less than a pixel" in caplog.text
    assert "2 are clipped" in caplog.text
    assert source.objects(1).crowd.tolist() == [True] * 5
    scored = [a["bbox"] for a in source.coco()["annotations"]]
    assert scored == [a["bbox"] for a in written["annotations"]]  # neither clipped nor dropped


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
    for found in source.masks(0):
        np.testing.assert_array_equal(coco_mask.decode(found), mask)
    json.dumps(source.coco())


@pytest.mark.parametrize("images", ["", "images", "val"])
def test_images_and_annotations_are_found_where_they_usually_lie(tmp_path, images):
    write(tmp_path, content(), images)
    assert build(tmp_path).images.open(1, None).size == (40, 30)
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
    message = r"the 6 images of .*json in .*: 4 of them are missing: 0.png, 1.png, 2.png, 3.png\."
    with pytest.raises(UserError, match=message):
        build(tmp_path)


PATH = r"annotations\[1\]"
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"category_id": 4}, f"{PATH}.category_id: expected one of 2 ids, 3, 5, received 4."),
    ({"image_id": 8}, f"{PATH}.image_id: expected one of 2 ids, 7, 9, received 8."),
    ({"image_id": "first"}, f"{PATH}.image_id: expected a whole number, received text."),
    ({"image_id": True}, f"{PATH}.image_id: expected a whole number, received true or false."),
    ({"image_id": 7.5}, f"{PATH}.image_id: expected a whole number, received a number."),
    ({"image_id": 10**30}, f"{PATH}.image_id: expected a whole number <= 9223372036854775807."),
    ({"category_id": [3]}, f"{PATH}.category_id: expected a whole number, received a list."),
    ({"bbox": [1, 2, float("nan"), 4]}, r"Expected JSON in .*malformed.* at '.*1, 2, NaN"),
    ({"bbox": [1, 2, "nan", 4]}, rf"{PATH}.bbox\[2\]: expected a number >= "),
    ({"bbox": [1, 2, 1e300, 4]}, rf"{PATH}.bbox\[2\]: expected a number <= "),
    ({"bbox": [1, 2, 3]}, f"{PATH}.bbox: expected a list of length 4."),
    ({"bbox": None}, f"{PATH}.bbox: expected a list, received null."),
    ({"bbox": [1, 2, 3, None]}, rf"{PATH}.bbox\[3\]: expected a number, received null."),
    ({"area": "large"}, f"{PATH}.area: expected a number or null, received text."),
    ({"iscrowd": "no"}, f"{PATH}.iscrowd: expected .*a whole number.*, received text."),
    ({"iscrowd": 7}, f"{PATH}.iscrowd: expected a whole number <= 1."),
]


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_a_wrong_annotation_is_named(tmp_path, change, message):
    written = content()
    written["annotations"][1] |= change
    with pytest.raises(UserError, match=message):
        build(tmp_path, written)


def test_what_is_unambiguous_is_taken(tmp_path):
    written = content()
    written["annotations"][0] |= {"image_id": "7", "category_id": 5.0, "iscrowd": "0"}
    written["annotations"][0] |= {"bbox": ["2", "3.0", 10, 6], "attributes": {"unknown": [1]}}
    written["annotations"][1] |= {"iscrowd": True, "area": None, "id": 1}
    written["images"][0] |= {"height": "30", "width": 40.0}
    write(tmp_path, content())
    (tmp_path / "instances_val.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(written).encode())
    source = build(tmp_path)
    assert source.objects(0).crowd.tolist() == [False, True]
    assert source.objects(0).labels.tolist() == [1, 0]
    np.testing.assert_array_equal(source.objects(0).boxes[0], [2, 3, 12, 9])
    assert source.size(0) == (30, 40)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("images", [], "instances_val.json .*images: expected a list of length >= 1."),
        ("images", None, "instances_val.json .*images: expected a list, received null."),
        ("images", content()["images"] + content()["images"][:1], "image ids .*more than once: 7."),
        ("images", [{"id": 7, "file_name": "first.png"}], r"images\[0\]: .*missing .* height"),
        ("images", [content()["images"][0] | {"height": 10**9}], r"height: .* <= 65535"),
        ("images", [content()["images"][0] | {"height": 0}], r"height: .* >= 1"),
        (
            "images",
            [content()["images"][0] | {"file_name": ["a"]}],
            "file_name: .* received a list",
        ),
        ("images", [content()["images"][0] | {"file_name": "../a.png"}], "inside .*'../a.png'"),
        ("images", [content()["images"][0] | {"file_name": "/etc/a.png"}], "inside .*'/etc/a.png'"),
        ("images", [content()["images"][0] | {"file_name": "\x1b[2J"}], r"are missing: \[2J\."),
        ("images", [content()["images"][0] | {"file_name": "a\0"}], r"inside .*'a\\x00'"),
        ("images", [content()["images"][0] | {"file_name": "a" * 999}], "are missing: aaaa"),
        ("categories", [], "categories: expected a list of length >= 1"),
        ("categories", {"3": "cat"}, "categories: expected a list, received an object"),
        ("categories", [{"id": 3, "name": ["a"]}], r"categories\[0\].name: .*received a list"),
        ("categories", [{"id": 3, "name": "a"}, {"id": 3, "name": "b"}], "category ids .*once: 3."),
        ("categories", [{"id": 3, "name": "a"}, {"id": 5, "name": "a"}], "category names .*: a."),
    ],
)
def test_a_wrong_file_is_named(tmp_path, key, value, message):
    write(tmp_path, content())
    (tmp_path / "instances_val.json").write_text(json.dumps({**content(), key: value}))
    with pytest.raises(UserError, match=message):
        build(tmp_path)


@pytest.mark.parametrize(
    "written",
    [b"<html>", b"", b'{"images": [', b"[" * 200_000, b'{"images": "\xff"}', b"\xff\xfe{"],
)
def test_a_file_that_is_no_json_is_named(tmp_path, written):
    write(tmp_path, content())
    (tmp_path / "instances_val.json").write_bytes(written)
    with pytest.raises(UserError, match=r"(JSON in|Cannot use) .*instances_val.json"):
        build(tmp_path)


def test_a_pipe_in_place_of_the_file_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "instances_val.json")
    with pytest.raises(UserError, match="no file .*instances_val.json"):
        build(tmp_path)


ODD_MASKS: list[tuple[Any, str]] = [
    (None, ": expected polygons or run lengths, received none"),
    ([], ": expected polygons or run lengths, received none"),
    ({}, ": object missing required field size"),
    ([1, 2, 3, 4, 5, 6], r"\[0\]: expected a list, received a whole number"),
    ([[1, 2, 3, 4, 5, 6, 7]], r"\[0\]: expected x and y in turn, received 7 numbers"),
    ([[1, 2, 3, "nan", 5, 6]], r"\[0\]\[3\]: expected a number"),
    ([[0, 0, 1e8, 0, 1e8, 1e8]], r"\[0\]: expected an outline on the image"),
    ([[-3e8, 5, -3e8, 5, -3e8, 6]], r"\[0\]: expected an outline on the image"),
    ([[0, 0, 40, 30] * 99], r"\[0\]: expected an outline on the image"),  # to and fro without end
    ({"size": [40, 30], "counts": "0"}, ".size: expected the image's 30, 40"),
    ({"size": [-30, -40], "counts": "0"}, ".size: expected the image's 30, 40"),
    ({"size": [30, 40], "counts": [3, 4]}, ".counts: expected run lengths that add up"),
    ({"size": [30, 40], "counts": [1201, -1]}, r".counts\[1\]: expected a whole number >= 0"),
    ({"size": [30, 40], "counts": "zzzzzz"}, ".counts: expected run lengths that add up"),
    ("mask.png", ": expected .*a list.*, received text"),
]


@pytest.mark.parametrize(("segmentation", "fault"), ODD_MASKS)
def test_an_odd_mask_stops_only_what_needs_masks(tmp_path, segmentation, fault):
    written = content()
    written["annotations"][0]["segmentation"] = [[2, 3, 12, 3, 12, 9, 2, 9]]
    written["annotations"][1]["segmentation"] = segmentation
    source = build(tmp_path, written)
    assert not source.has_masks
    assert re.fullmatch(rf"object 1 of first.png: segmentation{fault}.*", source.mask_fault)
    assert source.masks(0) is None
    assert len(source.objects(0).boxes) == 2
    with pytest.raises(UserError, match="Expected masks .* Received: object 1 of first.png"):
        Detections(source).scores("segm")


def test_masks_are_looked_at_when_they_are_asked_for(tmp_path, monkeypatch):
    looked_at: list[object] = []
    monkeypatch.setattr(_segmentation, "fault", lambda *given: looked_at.append(given))
    written = content()
    for annotation in written["annotations"]:
        annotation["segmentation"] = [[2, 3, 12, 3, 12, 9, 2, 9]]
    source = build(tmp_path, written)
    assert source.counts["num_objects"] == 2
    assert math.isfinite(Detections(source).scores()["AP"])
    assert not looked_at
    assert source.has_masks
    assert len(looked_at) == 2
    assert source.masks(0) is not None
    assert len(looked_at) == 2


def test_a_long_outline_that_is_the_image_s_is_taken(tmp_path):
    written = content()
    comb = [v for x in range(0, 40, 2) for v in (x, 0, x, 29, x + 1, 29, x + 1, 0)]
    for annotation in written["annotations"]:
        annotation["segmentation"] = [comb, [-3, -3, 50, -3, 50, 40]]  # and one at the border
    source = build(tmp_path, written)
    assert source.has_masks, source.mask_fault
    assert coco_mask.decode(source.masks(0)[0]).shape == (30, 40)


def test_a_class_that_stands_above_others_is_left_out_with_a_word(tmp_path, caplog):
    written = content()
    above = {"id": 0, "name": "animals", "supercategory": "none"}
    below = [{**c, "supercategory": "animals"} for c in written["categories"]]
    below[0]["supercategory"] = "dog"  # COCO's person stands below "person"
    written["categories"] = [above, *below, {"id": 9, "name": "cow", "supercategory": "animals"}]
    assert build(tmp_path, written).class_names == ("cat", "dog", "cow")
    assert "no class of animals, which no object has" in caplog.text
    written["annotations"][0]["category_id"] = 0
    assert build(tmp_path, written).class_names[0] == "animals"
    same = [{"id": 0, "name": "cat"}, {"id": 3, "name": "cat", "supercategory": "cat"}]
    written |= {"categories": same, "annotations": content()["annotations"][1:]}
    assert build(tmp_path, written).category_ids == (3,)


def test_a_class_above_others_stays_where_another_split_has_objects_of_it(tmp_path):
    written = content()
    above = {"id": 0, "name": "animals", "supercategory": "none"}
    written["categories"] = [
        above,
        *({**c, "supercategory": "animals"} for c in written["categories"]),
    ]
    assert build(tmp_path, written).class_names == ("cat", "dog")
    asked = ("animals", "cat", "dog")
    assert build(tmp_path, written, class_names=asked).class_names == asked
    above["name"] = "dog"  # of two with one name, one is a class
    for category in written["categories"][1:]:
        category["supercategory"] = "dog"
    assert build(tmp_path, written, class_names=("dog", "cat")).category_ids == (5, 3)


def test_names_of_classes_are_harmless(tmp_path):
    written = content()
    written["categories"] = [{"id": 5, "name": "\x1b[31mdog\x07\n eats"}, {"id": 3}]
    assert build(tmp_path, written).class_names == ("3", "[31mdog eats")


def test_classes_come_in_the_order_of_another_split(tmp_path):
    source = build(tmp_path, content(), class_names=("dog", "cat"))
    assert source.class_names == ("dog", "cat")
    assert source.category_ids == (5, 3)
    assert source.objects(0).labels.tolist() == [0, 1]
    assert [a["category_id"] for a in source.coco()["annotations"]] == [5, 3]


def test_annotations_of_the_unturned_picture_are_told_so(tmp_path):
    source = build(tmp_path, content())
    source.check()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 30)).save(tmp_path / "deep" / "second.png", exif=exif)
    for read in (source.check, lambda: list(data.annotated_images(source, [1]))):
        message = r"second.png to be 40 x 30 .* Received: 30 x 40, turned by its EXIF .*\(exiftool"
        with pytest.raises(UserError, match=message):
            read()
    (tmp_path / "first.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="Cannot decode .*first.png.* 1 more images are refused"):
        source.check()


def test_an_image_of_another_size_than_annotated_is_named(tmp_path):
    source = build(tmp_path, content())
    other = content()
    other["images"][0] |= {"height": 40, "width": 30}
    write(tmp_path, other)
    with pytest.raises(ValueError, match="Expected .*first.png to be 40 x 30 pixels.*: 30 x 40"):
        list(data.annotated_images(source, [0]))


def test_photographs_and_nuclei(shared_images):
    photos = data.build_annotated(
        "coco_json", data_dir=str(shared_images / "voc_mini"), split="test"
    )
    assert photos.num_examples == 277
    assert photos.counts["num_objects"] == 586
    assert not photos.has_masks
    nuclei = data.build_annotated("coco_json", data_dir=str(shared_images / "nuclei"), split="test")
    assert nuclei.has_masks
    for index in range(10):
        objects = nuclei.objects(index)
        masks = list(nuclei.masks(index) or ())
        xywh = coco_mask.toBbox(masks)
        np.testing.assert_array_equal(objects.boxes[:, :2], xywh[:, :2])
        np.testing.assert_array_equal(objects.boxes[:, 2:], xywh[:, :2] + xywh[:, 2:])
        np.testing.assert_array_equal(nuclei.areas(index), coco_mask.area(masks))
