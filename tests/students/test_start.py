"""Weights to start from: all of them land, or none."""

import keras_hub
import numpy as np
import pytest
import safetensors.numpy

from pcd_tf import students
from pcd_tf.weights import torchvision
from tests import toys
from tests.students import networks


def resnet(seed, channels=16):
    """One block a stack; every array random."""
    backbone = keras_hub.models.ResNetBackbone(
        [64], [7], [64, 8, 8, channels], [1, 1, 1, 1], [1, 2, 2, 2], "basic_block", name="small"
    )
    toys.scramble(backbone.weights, seed)
    return backbone


def values(network):
    return [np.array(x) for x in network.weights]


def assert_same(network, other):
    for one, two in zip(network.weights, other.weights, strict=True):
        np.testing.assert_array_equal(one, two)


def write(state, path):
    state = {name: np.ascontiguousarray(x) for name, x in state.items()}
    if path.suffix == ".npz":
        np.savez(path, **state)
    else:
        safetensors.numpy.save_file(state, path)
    return path


@pytest.fixture(scope="module")
def start():
    return resnet(1)


@pytest.fixture(scope="module")
def state(start):
    return torchvision.from_keras(start)


@pytest.mark.parametrize("place", ["run", "run/student"])
def test_from_a_run_or_a_directory(start, tmp_path, place):
    (tmp_path / "run" / "student").mkdir(parents=True)
    students.save(start, tmp_path / "run" / "student")
    student = resnet(2)
    digest = students.initialise(student, tmp_path / place)
    assert_same(student, start)
    assert digest == students.initialise(resnet(3), tmp_path / "run")
    assert len(digest) == 64


def test_from_a_keras_file_with_its_classifier(tmp_path):
    network = networks.classifier()
    toys.scramble(network.weights, 1)
    network.save(tmp_path / "own.keras")
    student = networks.encoder()
    students.initialise(student, tmp_path / "own.keras")
    for one, two in zip(student.weights, network.weights[:-2], strict=True):
        np.testing.assert_array_equal(one, two)


def test_names_that_keras_numbers_need_not_be_the_same(tmp_path):
    network, student = networks.sequential(), networks.sequential()
    assert network.layers[0].name != student.layers[0].name
    network.save(tmp_path / "own.keras")
    student = students.build("custom", model="tests.students.networks:sequential")
    students.initialise(student, tmp_path / "own.keras")
    assert_same(student, network)


def test_from_weights_alone(start, tmp_path):
    start.save_weights(tmp_path / "own.weights.h5")
    student = resnet(2)
    students.initialise(student, tmp_path / "own.weights.h5")
    assert_same(student, start)


@pytest.mark.parametrize("prefix", ["", "state_dict.module.encoder.", "model.backbone.body."])
@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_from_a_torchvision_resnet_after_any_one_prefix(start, state, tmp_path, prefix, suffix):
    named = {f"{prefix}{name}": x for name, x in state.items()}
    named[f"{prefix}fc.weight"] = np.zeros((5, 16), "float32")
    if prefix:
        named["model.head.weight"] = np.zeros((5, 5), "float32")
    student = resnet(2)
    students.initialise(student, write(named, tmp_path / f"r.{suffix}"))
    assert_same(student, start)


@pytest.mark.torch
def test_from_a_pytorch_file(start, state, tmp_path):
    torch = pytest.importorskip("torch", reason="writes a PyTorch file")
    tensors = {f"module.{name}": torch.tensor(x) for name, x in state.items()}
    torch.save({"epoch": 3, "state_dict": tensors}, tmp_path / "r.pth")
    student = resnet(2)
    students.initialise(student, tmp_path / "r.pth")
    assert_same(student, start)


def changed(state, kind):
    state = dict(state)
    if kind == "missing":
        del state["layer2.0.conv2.weight"]
    elif kind == "left over":
        state["projection_head.weight"] = np.ones(3, "float32")
    elif kind == "shape":
        state["bn1.bias"] = np.ones(3, "float32")
    elif kind == "two":
        state |= {f"momentum_encoder.{name}": x for name, x in state.items()}
    else:
        state = {"head.weight": np.ones(3, "float32")}
    return state


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "missing: stack1_block0_2_conv/kernel"),
        ("left over", "left over: projection_head.weight"),
        ("shape", r"conv1_bn/beta \(expected \(64,\), received \(3,\)\)"),
        ("two", "one ResNet in torchvision's names.*with '' and 'momentum_encoder.'"),
        ("none", "one ResNet.*with none, its first names head.weight"),
    ],
)
def test_what_does_not_fit_is_listed_and_nothing_is_loaded(state, tmp_path, kind, message):
    student = resnet(2)
    before = values(student)
    file = write(changed(state, kind), tmp_path / "r.npz")
    with pytest.raises(ValueError, match=message):
        students.initialise(student, file)
    for one, two in zip(before, student.weights, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("kind", ["preset", "weights", "keras"])
def test_another_network_is_refused_and_nothing_is_loaded(tmp_path, kind):
    other = resnet(1, channels=24)
    path = tmp_path / {"preset": "", "weights": "o.weights.h5", "keras": "o.keras"}[kind]
    if kind == "preset":
        students.save(other, path)
    elif kind == "weights":
        other.save_weights(path)
    else:
        other.save(path)
    student = resnet(2)
    before = values(student)
    with pytest.raises(ValueError, match="Nothing was loaded"):
        students.initialise(student, path)
    for one, two in zip(before, student.weights, strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_torchvision_file_is_for_resnets_alone(state, tmp_path):
    with pytest.raises(ValueError, match="a student that is a ResNet.*for encoder"):
        students.initialise(networks.encoder(), write(state, tmp_path / "r.npz"))


def test_a_path_that_holds_no_weights_is_refused(tmp_path):
    with pytest.raises(ValueError, match="config.json of a KerasHub preset"):
        students.initialise(resnet(2), tmp_path)
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(ValueError, match="Expected a checkpoint that ends in"):
        students.initialise(resnet(2), tmp_path / "notes.txt")
