"""What every student keeps to, whatever file it comes from."""

import keras
import keras_hub
import numpy as np
import pytest

from pcd_tf import students


def test_names():
    assert {"resnet18", "resnet34", "resnet50"} <= set(students.names())


def test_an_unknown_student_gets_the_nearest():
    with pytest.raises(ValueError, match=r"Received: 'resnet8'. Did you mean 'resnet18'"):
        students.build("resnet8")


@pytest.mark.parametrize("name", students.names())
def test_a_student_is_a_backbone_with_a_pyramid_for_any_size(name):
    student = students.build(name)
    assert isinstance(student, keras_hub.models.FeaturePyramidBackbone)
    assert tuple(student.input.shape) == (None, None, None, 3)
    assert list(student.pyramid_outputs) == ["P2", "P3", "P4", "P5"]
    network = keras.Model(student.input, {"last": student.output, **student.pyramid_outputs})
    outputs = network(np.zeros((1, 40, 72, 3), "float32"))
    assert tuple(outputs["P2"].shape[:3]) == (1, 10, 18)
    assert tuple(outputs["last"].shape[:3]) == tuple(outputs["P5"].shape[:3]) == (1, 2, 3)
    norms = [x for x in student.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert norms
    assert all(norm.synchronized for norm in norms)


def test_a_student_comes_back_from_its_preset(tmp_path):
    student = students.build("resnet18")
    images = np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype("float32")
    student.save_to_preset(str(tmp_path))
    again = keras_hub.models.Backbone.from_preset(str(tmp_path))
    np.testing.assert_array_equal(again(images), student(images))
