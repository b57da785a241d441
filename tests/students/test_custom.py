"""A user's own network becomes a student, or says why it cannot."""

import json
import logging

import keras
import numpy as np
import pytest

from pcd_tf import students
from tests.students import networks

HERE = "tests.students.networks"
IMAGES = np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype("float32")
MODULE = """
import keras
from own_helper import CHANNELS

def build():
    import own_later
    images = keras.Input((None, None, 3))
    return keras.Model(images, keras.layers.Conv2D(CHANNELS, 3, strides=4)(images))
"""


def test_pooling_and_classifier_are_cut_off_and_any_size_goes(caplog, monkeypatch):
    network = networks.classifier()
    last = keras.Model(network.input, network.get_layer("stage4").output)
    monkeypatch.setattr(networks, "remembered", lambda: network, raising=False)
    with caplog.at_level(logging.WARNING):
        student = students.build("custom", model=f"{HERE}:remembered", image_size=96)
    assert "classifier is cut behind its layer stage4, a map of 8 channels" in caplog.text
    assert "Left out: flat, classes." in caplog.text
    np.testing.assert_allclose(student(IMAGES), last(IMAGES), rtol=1e-5, atol=1e-6)
    assert student(IMAGES[:, :32]).shape == (2, 1, 2, 8)
    assert [id(x) for x in student.weights] == [id(x) for x in last.weights]  # no copies


def test_a_backbone_is_taken_as_it_is(caplog):
    student = students.build("custom", model=f"{HERE}:encoder")
    assert student.output_shape == (None, None, None, 8)
    assert "is cut" not in caplog.text


def test_a_model_in_a_model_is_dissolved():
    student = students.build("custom", model=f"{HERE}:nested")
    assert student.output._keras_history.operation.name == "stage4"
    assert list(students.pyramid(student)) == ["P2", "P3", "P4", "P5"]
    trained = student(IMAGES, training=True)
    assert np.abs(trained - student(IMAGES, training=False)).max() > 1e-3  # though it was frozen


def test_a_sequential_model_goes_too():
    student = students.build("custom", model=f"{HERE}:sequential")
    assert student.output_shape == (None, None, None, 6)
    assert list(students.pyramid(student)) == ["P3", "P4"]


def test_named_levels_are_kept_with_the_student(tmp_path):
    named = {"P3": "relu2", "P4": "stage3"}
    student = students.build("custom", model=f"{HERE}:classifier", pyramid=named)
    assert student.output is students.pyramid(student)["P4"]
    students.save(student, tmp_path)
    assert json.loads((tmp_path / "pyramid.json").read_text()) == named
    again = students.load(tmp_path)
    maps = {level: x._keras_history.operation.name for level, x in students.pyramid(again).items()}
    assert maps == named
    np.testing.assert_array_equal(again(IMAGES), student(IMAGES))

    (tmp_path / "pyramid.json").write_text('{"P3": "relu7"}')
    with pytest.raises(ValueError, match="name a layer for each level.*Did you mean 'relu"):
        students.load(tmp_path)
    (tmp_path / "pyramid.json").write_text('{"3": "relu2"}')
    with pytest.raises(ValueError, match=r"a layer for each level.*pyramid\.json.*regex"):
        students.load(tmp_path)


def test_what_a_file_had_frozen_learns(tmp_path):
    network = networks.nested()
    network.trainable = False
    network.save(tmp_path / "own.keras")
    student = students.build("custom", model=str(tmp_path / "own.keras"))
    # For each of five stages: two kernels and a bias, gamma and beta, a factor.
    assert len(student.trainable_weights) == 5 * 6
    assert all(layer.trainable for layer in student._flatten_layers())


def test_a_precision_that_a_function_sets_is_kept(monkeypatch):
    def mixed():
        images = keras.Input((None, None, 3))
        x = keras.layers.Conv2D(4, 3, strides=4, dtype="mixed_bfloat16", name="low")(images)
        return keras.Model(images, keras.layers.ReLU()(x), name="mixed")

    monkeypatch.setattr(networks, "mixed", mixed, raising=False)
    student = students.build("custom", model=f"{HERE}:mixed")
    assert student.get_layer("low").compute_dtype == "bfloat16"


def test_a_file_computes_in_the_precision_of_the_run(tmp_path):
    file = tmp_path / "own.keras"
    network = networks.classifier()
    network.save(file)
    keras.config.set_dtype_policy("mixed_bfloat16")
    student = students.build("custom", model=str(file))
    assert student(IMAGES).dtype == "bfloat16"
    for one, other in zip(student.weights, network.weights[: len(student.weights)], strict=True):
        np.testing.assert_array_equal(one, other)


def test_modules_of_the_current_directory_are_found(tmp_path, monkeypatch):
    (tmp_path / "own_network.py").write_text(MODULE)
    (tmp_path / "own_helper.py").write_text("CHANNELS = 5")
    (tmp_path / "own_later.py").write_text("")
    monkeypatch.chdir(tmp_path)
    student = students.build("custom", model="own_network:build")
    assert student.output_shape[-1] == 5


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing", "networks has none of the name 'missing'"),
        ("failing", r"failing\(\) to make a keras.Model. It raised RuntimeError: no such weights"),
        ("number", r"number\(\) to return a keras.Model. Received: a int"),
        ("subclassed", "Expected a functional keras.Model.*Received: subclassed, a Subclassed"),
        ("of_vectors", r"images \(B, H, W, 3\). Received: of_vectors of \(None, 8\)"),
        ("without_map", r"with a map \(B, h, w, C\).*Received: without_map"),
        ("bound_to_a_size", "images of any size. Received: bound, made for 64 x 64 pixels"),
        ("forgetful", r"same when it is saved.*forgetful.*off by 7\.5e-01 .*get_config loses an"),
        ("with_lambda", "saved and read again.*with_lambda.*backbone.keras, which holds code"),
    ],
)
def test_what_a_function_makes_may_be_refused(name, message):
    with pytest.raises(ValueError, match=message):
        students.build("custom", model=f"{HERE}:{name}")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (None, "Expected model, a .keras file"),
        ("networks", "package.module:function. Received: 'networks'"),
        ("no_such_module:build", "There is none in .* nor installed"),
        ("tests.no_such:build", "There is none in"),
        ("absent.keras", "absent.keras, which does not exist"),
    ],
)
def test_what_is_not_there_is_told(model, message):
    with pytest.raises(ValueError, match=message):
        students.build("custom", model=model)


def test_a_module_that_fails_is_not_called_missing(tmp_path, monkeypatch):
    (tmp_path / "needs_more.py").write_text("import not_installed_at_all")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="ModuleNotFoundError: No module named 'not_installed"):
        students.build("custom", model="needs_more:build")


@pytest.mark.parametrize(
    ("pyramid", "message"),
    [
        ({"P3": "stage3"}, "stride 8 for P3. Received: the layer stage3, of stride 16"),
        ({"P3": "stages2"}, r"Received: 'stages2'. Did you mean 'stage2'\? Its maps"),
        ({"P5": "classes"}, "gives a map.*Received: 'classes'"),
    ],
)
def test_a_wrong_level_is_refused(pyramid, message):
    with pytest.raises(ValueError, match=message):
        students.build("custom", model=f"{HERE}:classifier", pyramid=pyramid)


def test_an_image_size_that_does_not_fit_is_refused(monkeypatch):
    def patches():
        images = keras.Input((None, None, 3))
        x = keras.layers.Conv2D(4, 48, strides=48)(images)
        return keras.Model(images, x, name="patches")

    monkeypatch.setattr(networks, "patches", patches, raising=False)
    with pytest.raises(ValueError, match="32 x 32 pixels, the image_size. Received: patches"):
        students.build("custom", model=f"{HERE}:patches", image_size=32)


def test_reading_a_run_imports_nothing_that_its_config_names(tmp_path, monkeypatch):
    (tmp_path / "student").mkdir()
    students.save(networks.encoder(), tmp_path / "student")
    settings = {"student_model": "own_of_run:build", "image_size": 64}
    config = {"job": "distill", "settings": settings, "mean": [0] * 3, "std": [1] * 3}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "own_of_run.py").write_text("raise SystemExit('was run')")
    monkeypatch.chdir(tmp_path)
    assert students.read(tmp_path).backbone.output_shape[-1] == 8
    monkeypatch.delitem(keras.saving.get_custom_objects(), "tests>Scale")
    with pytest.raises(ValueError, match="own_of_run:build, with a class.*`import own_of_run`"):
        students.read(tmp_path)


@pytest.mark.parametrize("damage", ["short", "text", "lambda", "class"])
def test_files_that_cannot_be_read_say_why_and_run_nothing(tmp_path, damage, monkeypatch):
    file = tmp_path / "own.keras"
    network = networks.with_lambda() if damage == "lambda" else networks.encoder()
    network.save(file)
    message = "no .keras file or is damaged"
    if damage == "short":
        file.write_bytes(file.read_bytes()[:2000])
    elif damage == "text":
        file.write_text("weights")
    elif damage == "lambda":
        message = "holds code that loading it would run, such as a Lambda"
    else:
        registered = keras.saving.get_custom_objects()
        monkeypatch.delitem(registered, "tests>Scale")
        message = "classes that Keras knows.*own.keras, with the class 'Scale': register it"
    with pytest.raises(ValueError, match=message):
        students.build("custom", model=str(file))
