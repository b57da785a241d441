"""MoCo v3's and DINO's ViT teachers: what PyTorch computes with the same file, they compute."""

from typing import Any

import keras
import numpy as np
import pytest

from pcd_tf import teachers
from pcd_tf.teachers import _dino_vit, _layout, _moco_v3_vit
from pcd_tf.weights import checkpoint
from tests import goldens

SHAPES = [(2, 32, 32, 3), (2, 24, 48, 3)]  # that of the training, and another
_SMALL: dict[str, Any] = {
    "hidden_dim": 16,
    "num_layers": 2,
    "patch_size": 8,
    "image_size": 32,
    "head_units": (24, 8),
}


def moco_v3(path):
    return _moco_v3_vit.fill(_moco_v3_vit.build("moco_v3", num_heads=4, **_SMALL), path)


def dino(path):
    state = checkpoint.read(path)
    has_norm = _dino_vit.has_norm(state)
    teacher = _dino_vit.build("dino", num_heads=2, has_norm=has_norm, **_SMALL)
    return _layout.fill(teacher, state, _dino_vit.LAYOUT, path)


READERS = {"moco_v3": moco_v3, "dino": dino, "dino_norm": dino}


def golden_name(layout, shape):
    return f"vit_{layout}_{shape[1]}x{shape[2]}"


def assert_equal(teacher, shape, expected):
    images = goldens.images(shape)
    maps = teacher.backbone(images)
    pooled = keras.ops.mean(maps, axis=(1, 2))
    received = {"map": maps, "pooled": pooled, "head": teacher.head(pooled, training=False)}
    for kind, value in received.items():
        assert goldens.relative_error(value, expected[kind]) < 1e-4, kind
    assert np.std(expected["map"]) > 0.1
    mean = keras.ops.mean(teacher(images), axis=(1, 2))
    assert goldens.relative_error(mean, expected["head"]) < 1e-4


@pytest.mark.parametrize("layout", READERS)
def test_a_file_gives_the_outputs_that_pytorch_gave(layout, tmp_path):
    state, _ = goldens.load(golden_name(layout, SHAPES[0]))
    np.savez(tmp_path / "file.npz", **state)
    teacher = READERS[layout](tmp_path / "file.npz")
    for shape in SHAPES:
        _, expected = goldens.load(golden_name(layout, shape))
        assert_equal(teacher, shape, expected)


@pytest.mark.torch
@pytest.mark.parametrize("layout", READERS)
def test_a_file_of_pytorch_gives_what_pytorch_gives(layout, tmp_path):
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    from tests import torch_vit

    reference = torch_vit.SMALL[layout]()
    torch.save(reference.checkpoint, tmp_path / "file.pth")
    teacher = READERS[layout](tmp_path / "file.pth")
    for shape in SHAPES:
        expected = reference.outputs(goldens.images(shape))
        assert_equal(teacher, shape, expected)
        _, kept = goldens.load(golden_name(layout, shape))
        for kind, value in kept.items():
            assert goldens.relative_error(value, expected[kind]) < 1e-5, kind


@pytest.mark.torch
@pytest.mark.slow
@pytest.mark.parametrize("name", ["moco_v3_vit_s16", "dino_vit_s16"])
def test_the_published_size_gives_what_pytorch_gives(name, tmp_path):
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    from tests import torch_vit

    reference = torch_vit.FULL[name]()
    torch.save(reference.checkpoint, tmp_path / "file.pth.tar")
    teacher = teachers.convert(name, tmp_path / "file.pth.tar")
    for shape in ((1, 224, 224, 3), (1, 160, 256, 3)):
        assert_equal(teacher, shape, reference.outputs(goldens.images(shape)))


def test_positions_of_moco_v3_need_not_be_in_the_file_and_count_when_they_are(tmp_path):
    state, _ = goldens.load(golden_name("moco_v3", SHAPES[0]))
    (name,) = (name for name in state if name.endswith("momentum_encoder.pos_embed"))
    np.savez(tmp_path / "with.npz", **state)
    given = moco_v3(tmp_path / "with.npz").backbone.get_layer("tokens").positions
    np.testing.assert_array_equal(given, state.pop(name))
    np.savez(tmp_path / "without.npz", **state)
    own = moco_v3(tmp_path / "without.npz").backbone.get_layer("tokens").positions
    built = _moco_v3_vit.build("moco_v3", num_heads=4, **_SMALL)
    np.testing.assert_array_equal(own, built.backbone.get_layer("tokens").positions)
    assert np.max(np.abs(own - given)) > 0.1


def without(part):
    def spoil(state):
        return {name: array for name, array in state.items() if part not in name}

    return spoil


def transposed(part):
    def spoil(state):
        return {
            n: array.T if part in n and array.ndim == 2 else array for n, array in state.items()
        }

    return spoil


@pytest.mark.parametrize(
    ("layout", "spoil", "message"),
    [
        ("moco_v3", without("momentum_encoder.norm.bias"), r"missing: \S*norm\.bias"),
        ("moco_v3", without("momentum_encoder.head.7"), r"missing: \S*head\.7\.running_mean"),
        ("dino", without("teacher.head"), r"missing: .*head\.mlp\.0\.weight"),
        ("dino", transposed("blocks.1.mlp.fc1"), r"fc1\.weight \(expected \(64, 16\), received"),
        (
            "dino",
            lambda state: state | {"teacher.backbone.blocks.2.norm1.bias": np.zeros(16)},
            r"left over: \S*blocks\.2\.norm1\.bias",
        ),
    ],
)
def test_a_file_that_does_not_fit_is_refused(layout, spoil, message, tmp_path):
    state, _ = goldens.load(golden_name(layout, SHAPES[0]))
    np.savez(tmp_path / "file.npz", **spoil(state))
    with pytest.raises(ValueError, match=message):
        READERS[layout](tmp_path / "file.npz")


@pytest.mark.parametrize("layout", READERS)
def test_it_comes_back_from_its_directory(layout, tmp_path):
    state, _ = goldens.load(golden_name(layout, SHAPES[0]))
    np.savez(tmp_path / "file.npz", **state)
    teacher = READERS[layout](tmp_path / "file.npz")
    teacher.save(tmp_path / "teacher")
    again = teachers.load(tmp_path / "teacher")
    for shape in SHAPES:
        images = goldens.images(shape)
        np.testing.assert_array_equal(again(images), teacher(images))
    assert not again.backbone.trainable_variables


@pytest.mark.parametrize(
    ("name", "heads", "units"),
    [
        ("moco_v3_vit_s16", 12, (384, 4096, 256)),
        ("moco_v3_vit_b16", 12, (768, 4096, 256)),
        ("dino_vit_s16", 6, (384, 2048, 256)),
        ("dino_vit_b16", 12, (768, 2048, 256)),
    ],
)
def test_sizes_are_the_published_ones(name, heads, units, monkeypatch):
    made: dict[str, Any] = {}

    def vit(patch_size, num_layers, num_heads, hidden_dim, mlp_dim, **settings):
        made.update(settings, sizes=(patch_size, num_layers, num_heads, hidden_dim, mlp_dim))
        pixels = keras.Input((None, None, 3))
        return keras.Model(pixels, keras.layers.Conv2D(hidden_dim, 16, 16)(pixels))

    for module in (_moco_v3_vit, _dino_vit):
        monkeypatch.setattr(module, "VisionTransformer", vit)
    teacher = teachers.build(name)
    channels, hidden, dim = units
    assert teacher.name == name
    assert made["sizes"] == (16, 12, heads, channels, 4 * channels)
    assert made["image_size"] == 224
    assert made.get("positions") == ("sine_cosine" if "moco" in name else None)
    dense = [layer for layer in teacher.head.layers if isinstance(layer, keras.layers.Dense)]
    assert [layer.units for layer in dense] == [hidden, hidden, dim]
    assert {layer.use_bias for layer in dense} == {"dino" in name}
    assert (teacher.hidden_units, teacher.embedding_dim) == (hidden, dim)
    assert teacher.student_layers == (2 if "moco" in name else 3)
