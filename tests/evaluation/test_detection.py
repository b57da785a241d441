import json
import math
from typing import Any

import msgspec
import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pcd_tf import data
from pcd_tf.data import Annotated, Annotation
from pcd_tf.evaluation.detection import STATS, Detections
from tests.data import coco_files
from tests.data.pictures import Pictures

CAT, DOG, COW = range(3)
# Two images of 200 x 200: objects of 40 x 40, "medium", and one of 20 x 20, "small".
LARGE_CAT, DOG_BOX, SMALL_CAT = [10, 10, 50, 50], [100, 100, 140, 140], [20, 150, 40, 170]


def rle(box):
    x1, y1, x2, y2 = box
    mask = np.zeros((200, 200), np.uint8, order="F")
    mask[y1:y2, x1:x2] = 1
    encoded = coco_mask.encode(mask)
    return {**encoded, "counts": encoded["counts"].decode()}


def toy(crowd=(), *, has_masks=True, empty=False):
    """Image 0: a cat and a dog; image 1: a small cat; no cow. Category ids are 7, 3 and 90."""
    on = [[], []] if empty else [[(LARGE_CAT, CAT), (DOG_BOX, DOG)], [(SMALL_CAT, CAT)]]
    annotations = [
        Annotation(
            500 + index,
            200,
            200,
            np.array([box for box, _ in objects], np.float64).reshape(-1, 4),
            np.array([label for _, label in objects], np.int64),
            np.isin([label for _, label in objects], crowd),
            segmentations=[msgspec.Raw(msgspec.json.encode(rle(box))) for box, _ in objects]
            if has_masks
            else None,
        )
        for index, objects in enumerate(on)
    ]
    images = Pictures("toy", [np.zeros((200, 200, 3), np.uint8)] * 2)
    names = ["cat", "dog", "cow"]
    return Annotated(images, annotations, class_names=names, category_ids=[7, 3, 90])


def scored(found, source=None, **settings):
    """Scores found: by image, (box, class, score) each."""
    detections = Detections(source or toy())
    for index, of_image in found.items():
        boxes = np.array([box for box, _, _ in of_image], np.float32).reshape(-1, 4)
        masks = [rle(box) for box, _, _ in of_image]
        scores = np.array([score for _, _, score in of_image])
        classes = np.array([label for _, label, _ in of_image], np.int64)
        detections.add(index, boxes, scores, classes, masks=masks)
    return detections.scores(**settings)


PERFECT = {0: [(LARGE_CAT, CAT, 0.9), (DOG_BOX, DOG, 0.8)], 1: [(SMALL_CAT, CAT, 0.7)]}


@pytest.mark.parametrize("iou_type", ["bbox", "segm"])
def test_perfect_detections_score_1(iou_type, capfd):
    scores = scored(PERFECT, iou_type=iou_type)
    for name in ("AP", "AP50", "AP75", "APs", "APm", "AR100", "AP_agnostic", "AP50_agnostic"):
        assert scores[name] == pytest.approx(1), name
    assert math.isnan(scores["APl"])  # there is no large object
    assert scores["by_class"]["cat"] == pytest.approx({"AP": 1, "AP50": 1})
    assert all(math.isnan(value) for value in scores["by_class"]["cow"].values())
    assert capfd.readouterr().out == ""


def test_one_of_two_found_scores_the_recall_it_reaches():
    scores = scored({0: [(LARGE_CAT, CAT, 0.9), (DOG_BOX, DOG, 0.8)]})
    # Precision is 1 up to a recall of 1/2, so at 51 of the 101 points of recall.
    assert scores["by_class"]["cat"]["AP"] == pytest.approx(51 / 101)
    assert scores["AP"] == pytest.approx((51 / 101 + 1) / 2)
    assert scores["AR100"] == pytest.approx((1 / 2 + 1) / 2)
    assert (scores["APs"], scores["APm"]) == pytest.approx((0, 1))
    assert scores["AP_agnostic"] == pytest.approx(67 / 101)  # two of three: up to 0.66


def test_a_false_positive_costs_only_where_it_ranks_first():
    wrong = ([150, 10, 190, 50], CAT, 0.95)
    scores = scored({0: [wrong, *PERFECT[0]], 1: PERFECT[1]})
    assert scores["by_class"]["cat"]["AP"] == pytest.approx(2 / 3)  # 2 right of 3, at any recall
    assert scored({0: [(*wrong[:2], 0.1), *PERFECT[0]], 1: PERFECT[1]})["AP"] == pytest.approx(1)


def test_overlap_decides_which_thresholds_are_passed():
    shifted = [10, 10, 50, 42]  # IoU with the cat: 32 / 40 = 0.8
    scores = scored({0: [(shifted, CAT, 0.9), (DOG_BOX, DOG, 0.8)], 1: [(SMALL_CAT, CAT, 0.99)]})
    passed = 1  # thresholds 0.50 to 0.80: 7 of 10
    missed = 51 / 101
    assert scores["by_class"]["cat"]["AP50"] == pytest.approx(1)
    assert scores["by_class"]["cat"]["AP"] == pytest.approx((7 * passed + 3 * missed) / 10)
    assert scores["AP75"] == pytest.approx(1)


def test_the_wrong_class_is_found_but_not_named():
    scores = scored({0: [(LARGE_CAT, DOG, 0.9), (DOG_BOX, CAT, 0.8)], 1: [(SMALL_CAT, COW, 0.7)]})
    assert scores["AP"] == 0
    assert scores["AP_agnostic"] == pytest.approx(1)
    assert scores["AP50_agnostic"] == pytest.approx(1)


def test_a_crowd_is_neither_right_nor_wrong_to_find():
    inside_dog = ([105, 105, 120, 120], DOG, 0.99)
    source = toy(crowd=[DOG])
    for dogs in ([], [inside_dog], [(DOG_BOX, DOG, 0.8), inside_dog]):
        scores = scored({0: [PERFECT[0][0], *dogs], 1: PERFECT[1]}, source)
        assert scores["AP"] == scores["AP_agnostic"] == pytest.approx(1)
        assert math.isnan(scores["by_class"]["dog"]["AP"])


@pytest.mark.parametrize("found", [{}, {0: []}])
def test_nothing_found_scores_0(found):
    scores = scored(found)
    names = ("AP", "AP50", "AP75", "APs", "APm", "AR100", "AP_agnostic", "AP50_agnostic")
    assert [scores[name] for name in names] == [0] * len(names)
    assert scores["by_class"]["cat"] == {"AP": 0, "AP50": 0}


def test_nothing_to_find_scores_nan():
    for found in ({}, PERFECT):
        scores = scored(found, toy(empty=True))
        assert math.isnan(scores["AP"])
        assert math.isnan(scores["AP_agnostic"])


def test_scores_are_those_of_the_annotation_file_itself(tmp_path, capsys):
    """Of boxes that reach out of their image, thin ones and crowds, as pycocotools reads them."""
    rng = np.random.default_rng(0)
    written = coco_files.content()
    written["annotations"] = []
    for place in range(60):
        box = np.round([*rng.uniform(-4, 24, 2), *rng.choice([0.4, 5, 9, 14], 2)], 2).tolist()
        annotation = {
            "id": place + 1,
            "image_id": [7, 9][place % 2],
            "category_id": [3, 5][place % 3 > 0],
        }
        annotation |= {"bbox": box, "area": box[2] * box[3], "iscrowd": int(place % 10 == 9)}
        written["annotations"].append(annotation)
    data_dir = coco_files.write(tmp_path, written)
    source = data.build_annotated("coco_json", data_dir=data_dir, split="val")
    assert source.counts["num_clipped"] > 5
    assert source.counts["num_dropped"] > 5
    detections = Detections(source)
    for index in range(2):
        objects = source.objects(index)
        found = np.clip(objects.boxes + rng.normal(0, 1, objects.boxes.shape), 0, [40, 30, 40, 30])
        detections.add(index, found, rng.uniform(size=len(found)), objects.labels)
    truth = COCO(tmp_path / "instances_val.json")
    expected = COCOeval(truth, truth.loadRes(detections.results()), "bbox")
    expected.evaluate()
    expected.accumulate()
    expected.summarize()
    capsys.readouterr()
    scores = detections.scores()
    assert 0.05 < scores["AP"] < 0.9
    for name, place in STATS.items():
        known = expected.stats[place] if expected.stats[place] >= 0 else math.nan
        assert scores[name] == pytest.approx(known, nan_ok=True), name


def test_a_detection_that_ends_with_the_image_overlaps_a_longer_object_so_far(tmp_path):
    """COCO's protocol: the object as annotated, half outside, against what a detector can find."""
    written = coco_files.content()
    written["annotations"] = [{**written["annotations"][0], "bbox": [30, 5, 20, 10], "area": 200}]
    source = data.build_annotated(
        "coco_json", data_dir=coco_files.write(tmp_path, written), split="val"
    )
    detections = Detections(source)
    detections.add(0, np.array([[30, 5, 40, 15]]), np.array([0.9]), np.array([1]))
    scores = detections.scores()
    assert scores["AP50"] == pytest.approx(1)  # an overlap of exactly one half
    assert scores["AP"] == pytest.approx(0.1)


def test_boxes_and_masks_are_scored_apart():
    detections = Detections(toy())
    half = [10, 10, 50, 30]  # the upper half of the cat
    boxes, classes = np.array([LARGE_CAT]), np.array([CAT])
    detections.add(0, boxes, np.array([0.9]), classes, masks=[rle(half)])
    assert detections.scores()["by_class"]["cat"]["AP"] == pytest.approx(51 / 101)
    by_mask = detections.scores("segm")["by_class"]["cat"]
    assert by_mask["AP50"] == pytest.approx(51 / 101)  # an overlap of exactly 0.5
    assert by_mask["AP"] == pytest.approx(51 / 1010)


def test_results_are_in_coco_s_format():
    detections = Detections(toy())
    detections.add(1, np.array([SMALL_CAT], np.float32), np.array([0.5]), np.array([CAT]))
    mask = {"size": [200, 200], "counts": rle(DOG_BOX)["counts"].encode()}
    detections.add(0, np.array([DOG_BOX]), np.array([0.25]), np.array([DOG]), masks=[mask])
    detections.add(0, np.array([LARGE_CAT]), np.array([0.25]), np.array([DOG]), masks=[mask])
    expected = [
        {
            "image_id": 500,
            "category_id": 3,
            "bbox": [10, 10, 40, 40],
            "score": 0.25,
            "segmentation": rle(DOG_BOX),
        },
        {"image_id": 501, "category_id": 7, "bbox": [20, 150, 20, 20], "score": 0.5},
    ]
    assert json.loads(json.dumps(detections.results())) == expected
    detections.scores()
    assert detections.results() == expected  # scoring leaves them alone


ONE: tuple[Any, ...] = (0, np.array([LARGE_CAT], np.float32), np.array([0.5]), np.array([0]))


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (0, 2, "Expected an image of toy, 0 to 1. Received: 2."),
        (1, np.zeros((1, 5)), r"boxes \(n, 4\).*Received: \(1, 5\), \(1,\), \(1,\)."),
        (2, np.zeros(2), r"Received: \(1, 4\), \(2,\), \(1,\)."),
        (1, np.full((1, 4), np.nan), "finite boxes and scores of image 0.*has diverged"),
        (2, np.array([np.inf]), "finite boxes and scores of image 0"),
        (3, np.array([3]), "Expected classes from 0 to 2. Received: 3 to 3."),
        (3, np.array([-1]), "Received: -1 to -1."),
    ],
)
def test_wrong_detections_are_named(place, value, message):
    arguments: list[Any] = [*ONE]
    arguments[place] = value
    with pytest.raises(ValueError, match=message):
        Detections(toy()).add(*arguments)


def test_masks_that_are_missing_are_named():
    detections = Detections(toy())
    index, boxes, scores, classes = ONE
    with pytest.raises(ValueError, match="a mask of each of 1 boxes. Received: 0."):
        detections.add(index, boxes, scores, classes, masks=[])
    detections.add(*ONE)
    with pytest.raises(ValueError, match="masks of all detections.* Give masks to `add`."):
        detections.scores("segm")
    with pytest.raises(ValueError, match="Expected masks in toy.*Use iou_type='bbox'."):
        Detections(toy(has_masks=False)).scores("segm")
    with pytest.raises(ValueError, match="iou_type of bbox, segm. Received: 'keypoints'."):
        detections.scores("keypoints")
