"""Boxes of another format are asked about; real ones are not."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from pcd_tf import data
from pcd_tf.data import _box_format
from pcd_tf.errors import UserError

SIZE = np.array([640, 480])


def boxes(number=40, seed=0):
    """Boxes x, y, width, height anywhere in images of 640 x 480, up to their borders."""
    rng = np.random.default_rng(seed)
    starts = rng.uniform(0, 0.9, (number, 2)) * SIZE
    sides = rng.uniform(0.05, 1, (number, 2)) * (SIZE - starts)
    return np.concatenate([starts, sides], axis=1)


def corners(given):
    return np.concatenate([given[:, :2], given[:, :2] + given[:, 2:]], axis=1)


def polygons(given):
    """The outline of each box, as JSON."""
    return [
        msgspec.Raw(msgspec.json.encode([[x1, y1, x2, y1, x2, y2, x1, y2]]))
        for x1, y1, x2, y2 in corners(given).tolist()
    ]


def check(given, areas=None, segmentations=None):
    number = len(given)
    _box_format.check(
        given,
        np.tile(SIZE, (number, 1)),
        np.full(number, np.nan) if areas is None else areas,
        [msgspec.Raw(b"null")] * number if segmentations is None else segmentations,
        Path("boxes.json"),
    )


def area(given):
    return np.prod(given[:, 2:], axis=1)


def test_boxes_as_coco_writes_them_pass():
    given = boxes()
    check(given, area(given), polygons(given))
    check(given, 0.7 * area(given))  # of masks
    check(given[:0])
    at_border = np.array([[0, 0, 640.4, 480.2], [600, 400, 41, 80]])
    check(at_border, area(at_border))
    large = np.array([[5, 5, 600, 400]] * 20)  # one object an image: they fit as corners, too
    check(large, area(large), polygons(large))
    whole = boxes()  # people drawn whole, one in five half behind the border
    whole[::5, 2:] = SIZE - whole[::5, :2] + 0.1 * SIZE
    check(whole, area(whole))


def test_corners_are_asked_about_by_each_of_their_signs():
    message = "boxes x, y, width, height in pixels in boxes.json. .* Are they corners?"
    for number in (4, 40):
        with pytest.raises(UserError, match=f"{message}"):
            check(corners(boxes(number)))
    inside = 0.45 * boxes()  # in the upper left quarter, where they leave no image
    with pytest.raises(UserError, match="40 disagree with their area. Are they corners"):
        check(corners(inside), area(inside))
    with pytest.raises(UserError, match=r"disagree with their polygons. Are they corners"):
        check(corners(inside), 0.7 * area(inside), polygons(inside))


def test_a_few_masks_that_happen_to_fill_what_corners_would_are_no_sign():
    given = np.array([[0, 0, 640, 480]] * 10 + [[38, 0, 580, 480]] * 2, np.float64)
    areas = area(given)
    areas[10:] = (given[10:, 2] - given[10:, 0]) * given[10:, 3]
    check(given, areas)


def test_polygons_tell_widths_from_corners_whatever_the_areas():
    inside = 0.45 * boxes(200)
    given = inside[(corners(inside)[:, 2:] > 2 * inside[:, :2]).all(axis=1)]  # fit as corners, too
    areas = np.prod(given[:, 2:] - given[:, :2], axis=1)
    with pytest.raises(UserError, match="disagree with their area"):
        check(given, areas)
    check(given, areas, polygons(given))


def test_boxes_of_other_units_or_images_are_asked_about():
    with pytest.raises(UserError, match="Received: 40, all within 0..1. Multiply them"):
        check(boxes() / np.tile(SIZE, 2))
    with pytest.raises(UserError, match="leave their image by more than 5% of its side"):
        check(3 * boxes())


@pytest.mark.parametrize("name", ["voc_mini", "nuclei"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_real_boxes_pass_and_the_same_as_corners_do_not(shared_images, tmp_path, name, split):
    file = shared_images / name / f"instances_{split}.json"
    data_dir = str(shared_images / name)
    assert data.build_annotated("coco_json", data_dir=data_dir, split=split).num_examples
    content = msgspec.json.decode(file.read_bytes())
    for annotation in content["annotations"]:
        x, y, width, height = annotation["bbox"]
        annotation["bbox"] = [x, y, x + width, y + height]
    wrong = tmp_path / "corners.json"
    wrong.write_bytes(msgspec.json.encode(content))
    with pytest.raises(UserError, match="Are they corners?"):
        data.build_annotated("coco_json", data_dir=data_dir, split=split, annotations=str(wrong))
