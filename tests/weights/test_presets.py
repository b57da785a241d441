"""A preset that anybody may have made loads, or is refused in one line before it takes memory."""

import json

import keras_hub
import pytest

from pcd_tf import digests
from pcd_tf.weights import bounds, presets


@pytest.fixture
def folder(tmp_path):
    backbone = keras_hub.models.ResNetBackbone([64], [7], [64], [1], [1], "basic_block")
    backbone.save_to_preset(str(tmp_path))
    return tmp_path


def change(folder, **arguments):
    config = json.loads((folder / "config.json").read_text())
    config["config"].update(arguments)
    (folder / "config.json").write_text(json.dumps(config))


def refused(folder, message):
    with pytest.raises(ValueError, match=message) as caught:
        presets.load(folder)
    assert "\n" not in str(caught.value)


def test_a_preset_loads_with_digests_and_without(folder):
    presets.load(folder)
    digests.write(folder)
    presets.load(folder, keras_hub.models.ResNetBackbone, dtype="float32")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_conv_kernel_sizes": [10**9]}, "of which the network would take"),
        ({"stackwise_num_blocks": [10**9]}, "of which the network would take"),
        ({"input_conv_filters": True}, "which does not load"),
        ({"input_conv_filters": [10**400]}, "which does not load"),
        ({"input_conv_filters": "64"}, "which does not load"),
    ],
)
def test_a_network_that_cannot_be_is_refused(folder, arguments, message, monkeypatch):
    monkeypatch.setattr(bounds, "_OF_A_LAYER", 2**22)  # so that the end comes sooner
    change(folder, **arguments)
    refused(folder, message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1]", "expected an object { }, received a list"),
        ('{"class_name": ["ResNetBackbone"]}', r"\.class_name: .* received a list"),
        ('{"config": 3}', r"\.config: .* received a whole number"),
    ],
)
def test_a_description_of_another_form_is_refused_by_the_path_of_the_field(
    folder, content, message
):
    (folder / "config.json").write_text(content)
    refused(folder, rf"config\.json of a KerasHub preset. Received: .*{message}")


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        ([1, 2], r"\.config\.scale: expected a list of length >= 3"),
        ([1, 2, 0], r"\.config\.scale\[2\]: expected a number > 0"),
        ("1", r"\.config\.scale: .* received text"),
        (True, r"\.config\.scale: .* received true or false"),
    ],
)
def test_a_normalisation_that_is_none_is_refused(folder, scale, message):
    (folder / "image_converter.json").write_text(json.dumps({"config": {"scale": scale}}))
    refused(folder, rf"image converter.*image_converter\.json.*{message}")


def test_damage_to_the_weights_is_noticed(folder):
    digests.write(folder)
    content = bytearray((folder / "model.weights.h5").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "model.weights.h5").write_bytes(content)
    refused(folder, r"model\.weights\.h5 to have the SHA-256 that.*another content")
