"""LiteRT models: what they are made of at each precision, and what the interpreter says."""

import dataclasses

import keras
import numpy as np
import pytest
from PIL import Image

from export import litert
from export._images import Images
from tests.export.conftest import one_convolution

interpreters = pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed")


@pytest.fixture(scope="module")
def write(order, tiny, tmp_path_factory):
    """Writes the student once for each precision; returns the file and the interpreter."""
    made = {}

    def written(precision):
        if precision not in made:
            directory = tmp_path_factory.mktemp(precision)
            wanted = dataclasses.replace(
                order,
                images=tiny.images,
                batch_size=2,
                height=32,
                width=48,
                precision=precision,
            )
            litert.write(wanted, directory)
            made[precision] = directory / "model.tflite"
        return made[precision], interpreters.Interpreter(str(made[precision]))

    return written


def types_of(interpreter):
    """Counts the arrays of more than 1000 values by type: the weights."""
    details = [one for one in interpreter.get_tensor_details() if np.prod(one["shape"]) > 1000]
    return {one["dtype"].__name__ for one in details if len(one["shape"]) == 4}


@pytest.mark.parametrize(
    ("precision", "error", "types"),
    [
        ("float16", 2e-3, {"float16", "float32", "uint8"}),
        ("int8", 0.1, {"int8", "float32", "uint8"}),
    ],
)
def test_names_shapes_and_outputs(write, order, precision, error, types):
    _, interpreter = write(precision)
    (details,) = interpreter.get_input_details()
    assert details["dtype"] == np.uint8
    assert details["shape"].tolist() == [2, 32, 48, 3]
    runner = interpreter.get_signature_runner()
    images = order.images.batch(32, 48)[1::2]
    outputs = runner(images=images)
    expected = order.student.outputs(images)
    assert outputs.keys() == expected.keys()
    assert {precision} < types_of(interpreter) <= types
    for name, value in expected.items():
        assert outputs[name].dtype == np.float32
        np.testing.assert_allclose(outputs[name], value, atol=error * np.max(np.abs(value)))


def test_sizes_of_the_files(write, order):
    num_values = order.student.backbone.count_params()
    assert write("float16")[0].stat().st_size < 3 * num_values
    assert write("int8")[0].stat().st_size < 2 * num_values


def test_int8_is_whole_numbers_but_for_its_outputs(write):
    _, interpreter = write("int8")
    outputs = {one["index"] for one in interpreter.get_output_details()}
    floats = [
        one["name"]
        for one in interpreter.get_tensor_details()
        if one["dtype"] == np.float32 and one["index"] not in outputs
    ]
    assert floats == []


def test_dark_images_to_calibrate_with_do_not_change_how_images_are_read(tiny, tmp_path):
    Image.new("RGB", (40, 40), (30, 40, 20)).save(tmp_path / "dark.png")
    dark = Images.of({}, data_dir=str(tmp_path))
    wanted = dataclasses.replace(
        tiny, images=dark, batch_size=1, height=32, width=32, precision="int8"
    )
    litert.write(wanted, tmp_path)
    assert list(litert.entrances(wanted, tmp_path)) == ["the LiteRT interpreter"]


def test_an_input_with_another_scale_is_refused(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(
        litert, "_calibration", lambda order: order.images.representative(2, 32, 32) // 2
    )
    wanted = dataclasses.replace(tiny, batch_size=1, height=32, width=32, precision="int8")
    litert.write(wanted, tmp_path)
    with pytest.raises(
        ValueError, match=r"images in 0\.\.255 as they are\. Received: .*0\.4\d+ \*"
    ):
        litert.entrances(wanted, tmp_path)


def test_int8_wants_images_of_the_run(tiny, tmp_path):
    wanted = dataclasses.replace(
        tiny, images=Images.of({}), batch_size=1, height=32, width=32, precision="int8"
    )
    with pytest.raises(ValueError, match="to calibrate int8 with.*--data_dir"):
        litert.write(wanted, tmp_path)


class Inverse(keras.layers.Layer):
    """Holds an operation that LiteRT has only through TensorFlow's (Flex)."""

    def call(self, x):
        matrices = x[:, :2, :2, 0] + 3.0 * np.eye(2, dtype="float32")
        return x + keras.ops.mean(keras.ops.inv(matrices))


def test_an_operation_that_litert_does_not_have_is_refused(tiny, tmp_path):
    student = dataclasses.replace(tiny.student, backbone=one_convolution(Inverse()))
    wanted = dataclasses.replace(tiny, student=student, batch_size=1, height=32, width=32)
    with pytest.raises(ValueError, match=r"operations LiteRT has in float32\..*MatrixInverse"):
        litert.write(wanted, tmp_path)
    assert list(tmp_path.iterdir()) == []
