"""What pycocotools would crash on is found before."""

import msgspec
import pytest

from pcd_tf.data import _segmentation


@pytest.mark.parametrize(("end", "is_fine"), [(9.9e6, True), (1.01e7, False), (2.2e8, False)])
def test_an_outline_is_no_longer_than_pycocotools_can_draw_however_large_the_image(end, is_fine):
    outline = msgspec.Raw(msgspec.json.encode([[0, 0, end, 0, end, 10]]))
    assert (_segmentation.fault(outline, 13_000, 13_000) is None) == is_fine
