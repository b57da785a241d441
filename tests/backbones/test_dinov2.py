"""DINOv2 as a map: KerasHub's network, at every size that KerasHub can be built for, and others."""

import json
from typing import Any

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from pcd_tf.backbones.dinov2 import DINOv2

SETTINGS: dict[str, Any] = {
    "patch_size": 7,
    "num_layers": 1,
    "hidden_dim": 16,
    "num_heads": 2,
    "intermediate_dim": 32,
    "image_shape": (42, 42, 3),
    "position_embedding_shape": (70, 70),
}
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "registers": {"num_register_tokens": 2, "antialias_in_interpolation": True},
    "swiglu": {"use_swiglu_ffn": True, "drop_path_rate": 0.3, "apply_layernorm": True},
}


def preset(folder, **settings):
    backbone = keras_hub.models.DINOV2Backbone(**{**SETTINGS, **settings})
    random = np.random.default_rng(0)
    for weight in backbone.weights:
        weight.assign(random.normal(0.0, 0.3, weight.shape))
    embeddings = backbone.embeddings
    table = embeddings._interpolate_position_embeddings(
        embeddings.position_embeddings,
        backbone.patch_size,
        (70, 70),
        (42, 42),
        backbone.antialias_in_interpolation,
    )
    embeddings.interpolated_position_embeddings.assign(table)
    backbone.save_to_preset(str(folder))
    return str(folder)


def images(height, width):
    return np.random.default_rng(1).normal(size=(2, height, width, 3)).astype("float32")


@pytest.mark.parametrize("variant", VARIANTS)
def test_it_equals_keras_hubs_built_for_the_size(variant, tmp_path):
    folder = preset(tmp_path, **VARIANTS[variant])
    kind = keras_hub.models.DINOV2Backbone
    model = DINOv2.from_keras_hub(kind.from_preset(folder))
    for side in (70, 21, 84):
        fixed = kind.from_preset(folder, image_shape=(side, side, 3))
        tokens = fixed({"images": images(side, side)}).numpy()
        expected = tokens[:, 1 + fixed.num_register_tokens :].reshape(2, side // 7, side // 7, 16)
        error = np.max(np.abs(model(images(side, side)) - expected)) / np.max(np.abs(expected))
        # TensorFlow's own kernel without antialiasing comes from a table of 1024 steps.
        assert error < (1e-6 if fixed.antialias_in_interpolation or side == 70 else 2e-4)


def test_oblong_images_of_any_size_with_and_without_xla(tmp_path):
    model = DINOv2.from_keras_hub(
        keras_hub.models.DINOV2Backbone.from_preset(preset(tmp_path, num_register_tokens=2))
    )
    unknown = [tf.TensorSpec((None, None, None, 3))]
    expected = model(images(35, 105))
    assert expected.shape == (2, 5, 15, 16)
    for jit in (False, True):
        compiled = tf.function(model, input_signature=unknown, jit_compile=jit)
        np.testing.assert_allclose(compiled(images(35, 105)), expected, atol=1e-5)
    with pytest.raises(ValueError, match=r"multiples of the patch, 7 pixels"):
        model(images(42, 40))


def test_an_oblong_map_is_turned_when_image_positions_and_patches_are(tmp_path):
    model = DINOv2.from_keras_hub(keras_hub.models.DINOV2Backbone.from_preset(preset(tmp_path)))
    expected = model(images(42, 21)).numpy().swapaxes(1, 2)
    tokens = model.get_layer("tokens")
    table = tokens.positions.numpy()
    turned = table[:, 1:].reshape(1, 10, 10, 16).swapaxes(1, 2).reshape(1, 100, 16)
    tokens.positions.assign(np.concatenate([table[:, :1], turned], axis=1))
    tokens.patches.kernel.assign(keras.ops.transpose(tokens.patches.kernel, (1, 0, 2, 3)))
    np.testing.assert_allclose(model(images(42, 21).swapaxes(1, 2)), expected, atol=1e-5)


def test_it_comes_back_from_its_configuration(tmp_path):
    backbone = keras_hub.models.DINOV2Backbone.from_preset(
        preset(tmp_path, num_register_tokens=2, use_swiglu_ffn=True)
    )
    model = DINOv2.from_keras_hub(backbone)
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(model)))
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is DINOv2
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(again(images(21, 42)), model(images(21, 42)))
