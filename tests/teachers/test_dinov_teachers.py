"""DINOv2 and DINOv3 teachers out of KerasHub presets, here small ones made for the test."""

import json
import shutil

import keras
import keras_hub
import numpy as np
import pytest

from pcd_tf import normalisation, teachers
from tests import goldens

_NETWORK = {"num_layers": 1, "hidden_dim": 16, "num_heads": 2, "intermediate_dim": 32}


def dinov2():
    return keras_hub.models.DINOV2Backbone(
        patch_size=7,
        image_shape=(42, 42, 3),
        position_embedding_shape=(42, 42),
        num_register_tokens=2,
        **_NETWORK,
    )


def dinov3():
    return keras_hub.models.DINOV3Backbone(patch_size=8, image_shape=(32, 32, 3), **_NETWORK)


# One line, from its beginning to its end.
WHOLE = (
    r"^Expected a whole KerasHub preset.*which does not load \(.+\)\..*has to be whole, and.*\.\Z"
)
# name -> backbone, its input, its patch
KINDS = {"dinov2": (dinov2, "images", 7), "dinov3": (dinov3, "pixel_values", 8)}


@pytest.fixture(scope="module", params=KINDS)
def saved(request, tmp_path_factory):
    """A preset directory: name of the teacher, backbone, folder."""
    backbone = KINDS[request.param][0]()
    random = np.random.default_rng(0)
    for weight in backbone.weights:
        weight.assign(random.normal(0.0, 0.3, weight.shape))
    if request.param == "dinov2":  # its table has two copies
        embeddings = backbone.embeddings
        embeddings.interpolated_position_embeddings.assign(embeddings.position_embeddings)
    folder = tmp_path_factory.mktemp(request.param)
    backbone.save_to_preset(str(folder))
    return request.param, backbone, folder


def test_its_embedding_is_keras_hubs_patch_tokens(saved):
    name, backbone, folder = saved
    _, entry, patch = KINDS[name]
    teacher = teachers.convert(name, folder)
    side = backbone.image_shape[0]
    images = goldens.images((2, side, side, 3))
    tokens = keras.ops.convert_to_numpy(backbone({entry: images}))
    expected = tokens[:, 1 + backbone.num_register_tokens :]
    expected = expected.reshape(2, side // patch, side // patch, 16)
    assert goldens.relative_error(teacher(images), expected) < 1e-5
    assert (teacher.name, teacher.embedding_dim, teacher.hidden_units) == (name, 16, 32)
    assert teacher.origin.startswith(f"KerasHub preset {folder};")
    assert not teacher.backbone.trainable_variables


def test_it_takes_other_sizes_and_comes_back_from_its_directory(saved, tmp_path):
    name, _, folder = saved
    patch = KINDS[name][2]
    teacher = teachers.convert(name, str(folder))
    teacher.save(tmp_path / "teacher")
    again = teachers.load(tmp_path / "teacher", name)
    for height, width in ((3, 3), (12, 12), (2, 7)):
        images = goldens.images((2, patch * height, patch * width, 3))
        assert teacher(images).shape == (2, height, width, 16)
        np.testing.assert_array_equal(again(images), teacher(images))
    assert teacher.invariance_error(images) < 1e-5
    with pytest.raises(ValueError, match=f"multiples of the patch, {patch} pixels"):
        teacher(goldens.images((2, 40, 45, 3)))


def test_without_an_image_converter_images_are_normalised_as_imagenets(saved):
    name, _, folder = saved
    teacher = teachers.convert(name, folder)
    assert (teacher.mean, teacher.std) == normalisation.ASSUMED[:2]
    assert teacher.origin.endswith("; normalisation ImageNet's, assumed: the preset has none")


@pytest.mark.parametrize(
    ("scale", "offset", "mean", "std"),
    [
        ([0.02, 0.025, 0.05], [-2.0, -2.5, -3.0], (100.0, 100.0, 60.0), (50.0, 40.0, 20.0)),
        (1 / 127.5, -1.0, (127.5,) * 3, (127.5,) * 3),
        (1 / 255, None, (0.0,) * 3, (255.0,) * 3),
        (None, -128.0, (128.0,) * 3, (1.0,) * 3),
        (None, None, (0.0,) * 3, (1.0,) * 3),  # KerasHub gives the network 0..255
    ],
)
def test_the_presets_image_converter_says_how_images_are_normalised(
    saved, scale, offset, mean, std, tmp_path
):
    name, _, folder = saved
    kind = {"dinov2": "DINOV2ImageConverter", "dinov3": "DINOV3ImageConverter"}[name]
    preset = shutil.copytree(folder, tmp_path / "preset")
    converter = getattr(keras_hub.layers, kind)(scale=scale, offset=offset)
    converter.save_to_preset(str(preset))
    teacher = teachers.convert(name, preset)
    np.testing.assert_allclose(teacher.mean, mean, rtol=1e-6)
    np.testing.assert_allclose(teacher.std, std, rtol=1e-6)
    images = np.random.default_rng(0).integers(0, 256, (1, 14, 14, 3)).astype("float32")
    expected = (images - np.array(teacher.mean)) / np.array(teacher.std)
    np.testing.assert_allclose(converter(images), expected, atol=1e-4)
    assert teacher.origin == f"KerasHub preset {preset}; normalisation the preset's"


def test_the_published_small_ones_are_built_without_a_file():
    for name, patch, registers in (("dinov2", 14, 0), ("dinov3", 16, 4)):
        teacher = teachers.build(name)
        assert teacher.embedding_dim == 384
        tokens = teacher.backbone.get_layer("tokens")
        assert (tokens.patch_size, tokens.num_register_tokens) == (patch, registers)
        assert teacher.origin == "random initialisation"


@pytest.mark.parametrize("name", KINDS)
def test_a_preset_that_is_none_is_refused(name, tmp_path):
    with pytest.raises(ValueError, match=rf"{name}_\w+.*Received: .*nowhere, which is neither\.$"):
        teachers.convert(name, tmp_path / "nowhere")
    with pytest.raises(
        ValueError, match=r"KerasHub preset\. Received: .*config\.json, which is no file"
    ):
        teachers.convert(name, tmp_path)
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"config\.json of a KerasHub.*received a list"):
        teachers.convert(name, tmp_path)


def test_a_preset_of_another_network_is_refused(saved, tmp_path):
    name, _, folder = saved
    other = {"dinov2": "dinov3", "dinov3": "dinov2"}[name]
    with pytest.raises(ValueError, match=r"of a D\w+Backbone\. Received: .*, of a D\w+Backbone\.$"):
        teachers.convert(other, folder)
    resnet = keras_hub.models.ResNetBackbone([64], [3], [64], [1], [1], "basic_block")
    task = keras_hub.models.ImageClassifier(backbone=resnet, preprocessor=None, num_classes=2)
    task.save_to_preset(str(tmp_path / "task"))
    with pytest.raises(ValueError, match=r"Received: .*task, of a ResNetBackbone\.$"):
        teachers.convert(name, tmp_path / "task")


def test_a_preset_that_is_not_whole_is_refused_in_one_line(saved, tmp_path):
    name, _, folder = saved
    preset = shutil.copytree(folder, tmp_path / "preset")
    weights = preset / "model.weights.h5"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ValueError, match=WHOLE):
        teachers.convert(name, preset)
    weights.unlink()
    with pytest.raises(ValueError, match=WHOLE):
        teachers.convert(name, preset)
    config = json.loads((folder / "config.json").read_text())
    config["config"]["hidden_dim"] = 24
    (preset / "config.json").write_text(json.dumps(config))
    shutil.copy(folder / "model.weights.h5", weights)
    with pytest.raises(ValueError, match=WHOLE):
        teachers.convert(name, preset)


def test_a_name_without_a_network_is_refused_in_one_line(saved, monkeypatch):
    name, backbone, _ = saved

    def from_preset(preset):
        raise ConnectionError(f"no way to {preset}\nat all")

    monkeypatch.setattr(type(backbone), "from_preset", from_preset)
    published = sorted(type(backbone).presets)[0]
    with pytest.raises(ValueError, match=rf"^Expected.*\(no way to {published}\)\. A name.*\.\Z"):
        teachers.convert(name, published)
