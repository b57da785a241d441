"""What every student keeps to, whatever file it comes from."""

import keras
import keras_hub
import numpy as np
import pytest

from pcd_tf import students
from pcd_tf.weights import arrays

OPTIONS = {"custom": {"model": "tests.students.networks:classifier", "image_size": 64}}
STRIDES = {"P2": 4, "P3": 8, "P4": 16, "P5": 32}


@pytest.fixture(scope="module", params=students.names())
def student(request):
    """Made for mixed precision, as a run may ask for."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    return students.build(request.param, **OPTIONS.get(request.param, {}))


def test_names():
    expected = {"resnet18", "resnet34", "resnet50", "custom", "efficientnet_b0"}
    assert expected | {"mobilenet_v3_large", "mobilenet_v3_small"} <= set(students.names())


def test_an_unknown_student_gets_the_nearest():
    with pytest.raises(ValueError, match=r"Received: 'resnet8'. Did you mean 'resnet18'"):
        students.build("resnet8")


def test_a_student_has_a_pyramid_for_any_size(student):
    assert tuple(student.input.shape) == (None, None, None, 3)
    levels = students.pyramid(student)
    assert levels.keys() <= STRIDES.keys()
    assert list(levels) == sorted(levels)
    assert student.output is list(levels.values())[-1]
    outputs = keras.Model(student.input, levels)(np.zeros((1, 64, 96, 3), "float32"))
    for level, output in outputs.items():
        stride = STRIDES[level]
        assert tuple(output.shape) == (1, 64 // stride, 96 // stride, levels[level].shape[-1])
        assert output.dtype == "bfloat16"


@pytest.mark.parametrize("name", ["resnet18", "custom"])
def test_damage_to_a_saved_student_is_noticed(name, tmp_path):
    students.save(students.build(name, **OPTIONS.get(name, {})), tmp_path)
    (file,) = (path for path in tmp_path.iterdir() if path.suffix in (".h5", ".keras"))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match=rf"{file.name} to have the SHA-256 that.*another content"):
        students.load(tmp_path)


def test_a_student_comes_back_from_its_directory_in_float32(student, tmp_path):
    students.save(student, tmp_path)
    is_preset = isinstance(student, keras_hub.models.Backbone)
    assert (tmp_path / ("model.weights.h5" if is_preset else "backbone.keras")).is_file()
    assert student.layers[-1].compute_dtype == "bfloat16"  # the training may go on

    keras.config.set_dtype_policy("mixed_bfloat16")
    again = students.load(tmp_path)
    assert keras.config.dtype_policy().name == "mixed_bfloat16"
    assert {layer.compute_dtype for layer in again._flatten_layers()} == {"float32"}
    expected = arrays.variables(student)
    for name, variable in arrays.variables(again).items():
        np.testing.assert_array_equal(variable, expected.pop(name))
    assert not expected
    assert [(level, x.shape) for level, x in students.pyramid(again).items()] == [
        (level, x.shape) for level, x in students.pyramid(student).items()
    ]
