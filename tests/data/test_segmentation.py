"""What pycocotools would crash on is found before."""

import msgspec
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from pcd_tf.data import _segmentation


@pytest.mark.parametrize(("end", "is_fine"), [(9.9e6, True), (1.01e7, False), (2.2e8, False)])
def test_an_outline_is_no_longer_than_pycocotools_can_draw_however_large_the_image(end, is_fine):
    outline = msgspec.Raw(msgspec.json.encode([[0, 0, end, 0, end, 10]]))
    assert (_segmentation.fault(outline, 13_000, 13_000) is None) == is_fine


WHOLE = coco_mask.encode(np.eye(30, 40, dtype=np.uint8, order="F"))["counts"].decode()


@pytest.mark.parametrize(
    ("counts", "is_fine"),
    [
        (WHOLE, True),
        ("`U10", True),  # 1200 and an empty run
        ("0`U1", True),
        (WHOLE[:-2], False),  # too few: pycocotools takes them
        (WHOLE + "1", False),
        ("", False),
        (WHOLE + "P", False),  # a number that goes on behind the end of the text
        ("`U1\0", False),
        ("PPPPPPPPP0", False),
        ("`U1\u20ac", False),
        ("O", False),  # -1
    ],
)
def test_compressed_run_lengths_fill_the_image_neither_more_nor_less(counts, is_fine):
    given = msgspec.Raw(msgspec.json.encode({"size": [30, 40], "counts": counts}))
    assert (_segmentation.fault(given, 30, 40) is None) == is_fine
