"""The effective receptive field of networks whose field is known."""

import keras
import numpy as np
import pytest

from pcd_tf.training import receptive_field


def images(count=2, size=32):
    return np.random.default_rng(0).normal(size=(count, size, size, 3)).astype("float32")


def test_a_convolution_looks_at_its_kernel_alone():
    convolution = keras.layers.Conv2D(4, 5, padding="same", kernel_initializer="ones")
    field = receptive_field.input_gradient(convolution, images())
    expected = np.zeros((32, 32))
    expected[14:19, 14:19] = 1 / 25
    np.testing.assert_allclose(field, expected, atol=1e-6)
    assert receptive_field.radius(field) == pytest.approx(2.0)


def test_the_mean_over_the_image_looks_everywhere():
    def network(x):
        return x + keras.ops.mean(x, axis=(1, 2), keepdims=True)

    near = receptive_field.input_gradient(lambda x: x, images())
    far = receptive_field.input_gradient(network, images())
    assert (far > 0).all()
    assert near.sum() == pytest.approx(1.0, abs=1e-5)
    assert receptive_field.radius(far) > receptive_field.radius(near)


def test_the_picture_is_drawn(tmp_path):
    fields = {"with": np.eye(8) / 8, "without": np.full((8, 8), 1 / 64)}
    receptive_field.draw(fields, tmp_path / "pictures" / "field.png")
    assert (tmp_path / "pictures" / "field.png").stat().st_size > 1000
