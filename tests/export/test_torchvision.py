"""Arrays for PyTorch: their names, how they are loaded, and the check with and without PyTorch."""

import dataclasses
import importlib.util
import re

import keras_hub
import numpy as np
import pytest

from export import _torch_names, _verify, torchvision
from pcd_tf.weights import arrays
from tests.export.conftest import one_convolution

# Of the toy student, one basic block a stack; the first and third stacks keep their width.
NORM = ("weight", "bias", "running_mean", "running_var")


def toy_names(stem, norm, block, shortcut):
    convolutions = [stem, *(block.format(i, j) for i in range(4) for j in (1, 2))]
    convolutions += [shortcut.format(i) for i in (1, 2, 3)]
    weights = {f"{name}.weight" for name in convolutions}
    return weights | {f"{norm(name)}.{value}" for name in convolutions for value in NORM}


@pytest.fixture(scope="module", params=["torchvision", "detectron2"])
def written(request, order, tmp_path_factory):
    wanted = dataclasses.replace(order, naming=request.param)
    directory = tmp_path_factory.mktemp(request.param)
    torchvision.write(wanted, directory)
    return wanted, directory


def test_names(written):
    order, directory = written
    state = arrays.read(directory / "model.safetensors")
    if order.naming == "detectron2":
        expected = {
            re.sub(r"^res(\d)", lambda found: f"res{int(found[1]) + 2}", name)
            for name in toy_names(
                "stem.conv1", lambda name: f"{name}.norm", "res{}.0.conv{}", "res{}.0.shortcut"
            )
        }
        assert state.keys() == expected
    else:
        assert {"conv1.weight", "bn1.num_batches_tracked", "layer2.0.downsample.1.bias"} <= set(
            state
        )
        assert state["layer4.0.bn2.num_batches_tracked"].dtype == np.int64


def test_detectron2_names_of_a_resnet50():
    names = {
        "conv1.weight": "stem.conv1.weight",
        "bn1.running_var": "stem.conv1.norm.running_var",
        "layer1.0.downsample.0.weight": "res2.0.shortcut.weight",
        "layer1.0.downsample.1.bias": "res2.0.shortcut.norm.bias",
        "layer3.5.conv3.weight": "res4.5.conv3.weight",
        "layer4.2.bn3.running_mean": "res5.2.conv3.norm.running_mean",
    }
    state = {name: np.full(1, i) for i, name in enumerate(names)}
    renamed = _torch_names.to_detectron2({**state, "bn1.num_batches_tracked": np.zeros(())})
    assert renamed == {names[name]: array for name, array in state.items()}
    assert _torch_names.from_detectron2(renamed) == state


@pytest.mark.torch
def test_the_check_runs_in_pytorch(written):
    order, directory = written
    entrances = torchvision.entrances(order, directory)
    assert list(entrances) == ["PyTorch"]
    assert _verify.check(order, entrances, _verify.Bound()).error < 1e-5


def test_the_check_runs_without_pytorch(written, monkeypatch):
    order, directory = written
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    entrances = torchvision.entrances(order, directory)
    assert list(entrances) == ["Keras, as PyTorch is not installed"]
    assert _verify.check(order, entrances, _verify.Bound()).error < 1e-6


@pytest.mark.parametrize("has_torch", [pytest.param(True, marks=pytest.mark.torch), False])
def test_arrays_that_are_not_the_students_are_refused(order, tmp_path, monkeypatch, has_torch):
    torchvision.write(order, tmp_path)
    path = tmp_path / "model.safetensors"
    state = arrays.read(path)
    state["layer3.0.conv2.weight"] = state["layer3.0.conv2.weight"].transpose(0, 1, 3, 2)
    arrays.write(path, state)
    if not has_torch:
        monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match="Received: .*, at 40 x 40 pixels, off by"):
        _verify.check(order, torchvision.entrances(order, tmp_path), _verify.Bound())


@pytest.mark.torch
def test_the_readme_of_detectron2_makes_a_file_that_it_reads(order, tmp_path, monkeypatch):
    import torch

    wanted = dataclasses.replace(order, naming="detectron2")
    torchvision.write(wanted, tmp_path)
    text = (tmp_path / "README.txt").read_text()
    monkeypatch.chdir(tmp_path)
    exec(code_of(text), {})
    loaded = torch.load("model.pth", weights_only=True)
    assert loaded["matching_heuristics"] is True
    state = arrays.read("model.safetensors")
    assert {name: tuple(x.shape) for name, x in loaded["model"].items()} == {
        name: x.shape for name, x in state.items()
    }
    assert "PIXEL_MEAN: [100, 110, 120]\n" in text
    assert "PIXEL_STD: [50, 60, 70]\n" in text
    assert "RES2_OUT_CHANNELS: 64" in text


def test_the_readme_of_torchvision(order, tmp_path):
    torchvision.write(order, tmp_path)
    text = (tmp_path / "README.txt").read_text()
    compile(code_of(text), "README.txt", "exec")
    assert "from torchvision.models import resnet10\n" in text  # 2 x 4 + 2 layers
    assert "mean = [0.392157, 0.431373, 0.470588]\n" in text
    assert "std = [50, 60, 70]\n" in text


def code_of(text):
    """The first indented block."""
    lines = text.split("\n\n    ", 1)[1].splitlines()
    lines[0] = f"    {lines[0]}"
    end = next(i for i, line in enumerate(lines) if line and not line.startswith("    "))
    return "\n".join(line[4:] for line in lines[:end])


def test_other_students_are_refused(order, tmp_path):
    for backbone in (other_resnet(), one_convolution()):
        student = dataclasses.replace(order.student, backbone=backbone)
        with pytest.raises(ValueError, match="Expected a ResNet student.*--format=onnx"):
            torchvision.write(dataclasses.replace(order, student=student), tmp_path)


def other_resnet():
    return keras_hub.models.ResNetBackbone(
        [64], [7], [64, 64], [1, 1], [1, 2], "basic_block", use_pre_activation=True
    )
