"""What the train steps share: views to images, and a step that all replicas skip or none."""

import keras
import numpy as np

from pcd_tf.layers import Photometric
from pcd_tf.models import _step
from tests import toys


def test_views_become_normalised_images_and_stay_neighbours():
    batch = toys.batch(3)
    layer = _step.ViewsToImages(toys.MEAN, toys.STD)
    images = np.array(layer(batch))
    assert images.shape == (6, toys.SIZE, toys.SIZE, 3)
    for i in range(3):
        for view in range(2):
            coloured = Photometric()(
                batch["images"][i, view][None], batch["photometric"][i, view][None]
            )
            expected = (np.array(coloured)[0] - toys.MEAN) / toys.STD
            np.testing.assert_allclose(images[2 * i + view], expected, atol=1e-4)


def test_images_stay_float32_in_mixed_precision():
    keras.config.set_dtype_policy("mixed_float16")
    assert _step.ViewsToImages(toys.MEAN, toys.STD)(toys.batch(2)).dtype == "float32"
