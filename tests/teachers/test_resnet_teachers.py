"""The published ResNet teachers: what PyTorch computes with the same file, they compute."""

import keras
import numpy as np
import pytest
import safetensors.numpy

from pcd_tf import teachers
from tests import goldens, small_teachers

# Golden file -> teacher; DINO published two files, whose heads differ.
GOLDENS = {
    "barlow_twins_resnet50": "barlow_twins_resnet50",
    "byol_resnet50": "byol_resnet50",
    "dino_resnet50": "dino_resnet50",
    "dino_resnet50_example_run": "dino_resnet50",
    "moco_v3_resnet18": "moco_v3_resnet18",
    "moco_v3_resnet50": "moco_v3_resnet50",
    "swav_resnet50": "swav_resnet50",
}
TOLERANCE = 1e-4


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    small_teachers.patch(monkeypatch)


def outputs(teacher):
    maps = teacher.backbone(goldens.images())
    pooled = keras.ops.mean(maps, axis=(1, 2))
    return {"map": maps, "pooled": pooled, "head": teacher.head(pooled, training=False)}


def assert_equal(received, expected):
    for kind, value in received.items():
        assert goldens.relative_error(value, expected[kind]) < TOLERANCE, kind
        assert np.std(expected[kind]) > 0.1, kind  # it says something


@pytest.mark.parametrize(("golden", "name"), GOLDENS.items())
def test_a_file_gives_the_outputs_that_pytorch_gave(golden, name, tmp_path):
    state, expected = goldens.load(golden)
    np.savez(tmp_path / "file.npz", **state)
    teacher = teachers.convert(name, tmp_path / "file.npz")
    assert teacher.name == name
    assert_equal(outputs(teacher), expected)
    mean = keras.ops.mean(teacher(goldens.images()), axis=(1, 2))
    assert goldens.relative_error(mean, expected["head"]) < TOLERANCE
    assert teacher.invariance_error(goldens.images()) < 1e-5


@pytest.mark.torch
@pytest.mark.parametrize(("golden", "name"), GOLDENS.items())
def test_a_file_of_pytorch_gives_what_pytorch_gives(golden, name, tmp_path):
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    from tests import torch_models

    reference = torch_models.SMALL_SIZE[golden]()
    expected = reference.outputs(goldens.images())
    torch.save(reference.checkpoint, tmp_path / "file.pth.tar")
    teacher = teachers.convert(name, tmp_path / "file.pth.tar")
    assert_equal(outputs(teacher), expected)
    _, kept = goldens.load(golden)
    for kind, value in kept.items():
        assert goldens.relative_error(value, expected[kind]) < 1e-5, kind


@pytest.mark.torch
@pytest.mark.slow
def test_the_published_size_gives_what_pytorch_gives(monkeypatch, tmp_path):
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    from tests import torch_models

    monkeypatch.undo()
    reference = torch_models.moco_v3_resnet50()
    torch.save(reference.checkpoint, tmp_path / "file.pth.tar")
    teacher = teachers.convert("moco_v3_resnet50", tmp_path / "file.pth.tar")
    images = goldens.images((1, 224, 160, 3))
    maps = teacher.backbone(images)
    expected = reference.outputs(images)
    assert goldens.relative_error(maps, expected["map"]) < TOLERANCE
    mean = keras.ops.mean(teacher(images), axis=(1, 2))
    assert goldens.relative_error(mean, expected["head"]) < TOLERANCE


def flat(state, start):
    """The names of the network alone, as somebody saves its state_dict()."""
    return {name.removeprefix(start): array for name, array in state.items()}


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("moco_v3_resnet50", "state_dict."),
        ("moco_v3_resnet50", "state_dict.module."),
        ("swav_resnet50", "module."),
        ("barlow_twins_resnet50", "model.module."),
        ("byol_resnet50", "model."),
        ("dino_resnet50", "teacher."),
    ],
)
def test_a_flat_file_may_leave_out_container_and_module(name, start, tmp_path):
    state, expected = goldens.load(name)
    safetensors.numpy.save_file(flat(state, start), tmp_path / "file.safetensors")
    assert_equal(outputs(teachers.convert(name, tmp_path / "file.safetensors")), expected)


def test_swav_may_have_a_container_as_on_the_way_of_its_training(tmp_path):
    state, expected = goldens.load("swav_resnet50")
    inside = {f"state_dict.{name}": array for name, array in state.items()}
    np.savez(tmp_path / "file.npz", **inside, **{"optimizer.state.0.momentum_buffer": np.ones(3)})
    assert_equal(outputs(teachers.convert("swav_resnet50", tmp_path / "file.npz")), expected)


def test_what_was_used_and_what_was_not_is_told(tmp_path):
    state, _ = goldens.load("moco_v3_resnet50")
    np.savez(tmp_path / "r-50.npz", **state, **{"optimizer.state.0.momentum_buffer": np.ones(3)})
    teacher = teachers.convert("moco_v3_resnet50", tmp_path / "r-50.npz")
    assert len(teacher.weights) == 68
    assert teacher.origin == (
        "r-50.npz: 68 arrays used; not used: base_encoder (82), num_batches_tracked (14), "
        "optimizer (1), predictor (8)"
    )


@pytest.mark.parametrize(
    ("golden", "name"),
    [("moco_v3_resnet50", "moco_v3_resnet50"), ("dino_resnet50_example_run", "dino_resnet50")],
)
def test_it_comes_back_from_its_directory(golden, name, tmp_path):
    state, _ = goldens.load(golden)
    np.savez(tmp_path / "file.npz", **state)
    teacher = teachers.convert(name, tmp_path / "file.npz")
    teacher.save(tmp_path / "teacher")
    again = teachers.load(tmp_path / "teacher", name)
    assert (again.mean, again.std, again.origin) == (teacher.mean, teacher.std, teacher.origin)
    np.testing.assert_array_equal(again(goldens.images()), teacher(goldens.images()))


def test_swav_normalises_as_its_authors_do():
    assert teachers.build("swav_resnet50").std == pytest.approx((58.14, 57.12, 57.375))
    assert teachers.build("byol_resnet50").std == (58.395, 57.12, 57.375)


@pytest.mark.parametrize(
    ("name", "depth", "units", "biases", "num_norms"),
    [
        ("moco_v3_resnet50", 50, (4096, 256), (False, False), 2),
        ("moco_v3_resnet18", 18, (1024, 256), (False, False), 2),
        ("swav_resnet50", 50, (2048, 128), (True, True), 1),
        ("barlow_twins_resnet50", 50, (8192, 8192, 8192), (False,) * 3, 2),
        ("byol_resnet50", 50, (4096, 256), (True, False), 1),
        ("dino_resnet50", 50, (4096, 256), (True, True), 1),
    ],
)
def test_sizes_are_the_published_ones(name, depth, units, biases, num_norms, monkeypatch):
    monkeypatch.undo()  # the heads as they are
    channels = {18: 512, 50: 2048}

    def resnet(depth):
        images = keras.Input((None, None, 3))
        return keras.Model(images, keras.layers.Conv2D(channels[depth], 1)(images))

    small_teachers.patch_backbones(monkeypatch, resnet)
    teacher = teachers.build(name)
    assert teacher.backbone.output_shape[-1] == channels[depth]
    dense = [layer for layer in teacher.head.layers if isinstance(layer, keras.layers.Dense)]
    assert tuple(layer.units for layer in dense) == units
    assert tuple(layer.use_bias for layer in dense) == biases
    kind = keras.layers.BatchNormalization
    assert len([layer for layer in teacher.head.layers if isinstance(layer, kind)]) == num_norms
    assert (teacher.hidden_units, teacher.embedding_dim) == (units[0], units[-1])
    assert teacher.student_layers == (3 if "barlow" in name else 2)
