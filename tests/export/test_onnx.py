"""The ONNX model: its names and shapes, and what ONNX Runtime says."""

import dataclasses

import numpy as np
import pytest

from export import onnx as onnx_format

onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
pytest.importorskip("tf2onnx", reason="tf2onnx is not installed")


@pytest.fixture(scope="module")
def session(order, tmp_path_factory):
    directory = tmp_path_factory.mktemp("onnx")
    onnx_format.write(order, directory)
    assert [path.name for path in directory.iterdir()] == ["model.onnx"]
    return onnxruntime.InferenceSession(directory / "model.onnx")


def ask(session, images):
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"images": images}), strict=True))


def random_images(*shape):
    return np.random.default_rng(0).integers(0, 256, (*shape, 3), "uint8")


def assert_close(received, expected):
    assert received.keys() == expected.keys()
    for name, value in expected.items():
        assert received[name].dtype == np.float32
        np.testing.assert_allclose(received[name], value, atol=1e-5 * np.max(np.abs(value)))


def test_names_and_free_axes(session):
    (images,) = session.get_inputs()
    assert (images.name, images.type) == ("images", "tensor(uint8)")
    assert images.shape == ["batch", "height", "width", 3]


@pytest.mark.parametrize("shape", [(1, 64, 64), (3, 33, 90), (1, 1, 1)])
def test_images_of_any_number_and_size(session, student, shape):
    images = random_images(*shape)
    assert_close(ask(session, images), student.outputs(images))


def test_fixed_shapes(tiny, tmp_path):
    onnx_format.write(dataclasses.replace(tiny, batch_size=2, height=32, width=48), tmp_path)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    assert session.get_inputs()[0].shape == [2, 32, 48, 3]
    shapes = {output.name: output.shape for output in session.get_outputs()}
    assert shapes == {"embedding": [2, 4], "feature_map": [2, 4, 6, 4], "P3": [2, 4, 6, 4]}
    images = random_images(2, 32, 48)
    assert_close(ask(session, images), tiny.student.outputs(images))
