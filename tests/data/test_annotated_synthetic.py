import numpy as np
import pytest
from pycocotools import mask as coco_mask

from pcd_tf import data
from pcd_tf.data.synthetic import NUM_LABELLED, SyntheticSource


def test_masks_are_exactly_what_is_visible_and_boxes_fit_them(monkeypatch):
    monkeypatch.setitem(NUM_LABELLED, "val", 4)
    source = data.build_annotated("synthetic", seed=3, split="val")
    world = SyntheticSource(3, split="val")
    for index, image in enumerate(data.annotated_images(source, range(4))):
        objects, masks = source.objects(index), source.masks(index) or ()
        semantic_map = np.zeros(source.size(index), np.uint8)
        for label, box, encoded in zip(objects.labels, objects.boxes, masks, strict=True):
            mask = coco_mask.decode(encoded).astype(bool)
            assert not semantic_map[mask].any()  # no pixel shows two objects
            semantic_map[mask] = label + 1
            rows, columns = np.nonzero(mask)
            edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert box.tolist() == edges
        np.testing.assert_array_equal(semantic_map, world.example(index)["semantic_map"])
        np.testing.assert_array_equal(image, world.example(index)["image"])
    truth = source.coco()
    assert len(truth["annotations"]) == source.counts["num_objects"]
    first = truth["annotations"][0]
    assert first["area"] == coco_mask.area(first["segmentation"]) > 0


def test_splits_differ_and_have_their_sizes():
    train, val = (data.build_annotated("synthetic", split=split) for split in ("train", "val"))
    assert (train.num_examples, val.num_examples) == (1000, 200)
    assert (np.asarray(train.images.open(0, None)) != val.images.open(0, None)).any()
    with pytest.raises(ValueError, match="Expected a split of the synthetic images"):
        data.build_annotated("synthetic", split="dev")
