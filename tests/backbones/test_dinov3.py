"""DINOv3 as a map: KerasHub's network, at every size that KerasHub can be built for."""

import json
from typing import Any

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from pcd_tf.backbones.dinov3 import DINOv3

SETTINGS: dict[str, Any] = {
    "patch_size": 8,
    "num_layers": 1,
    "hidden_dim": 16,
    "num_heads": 2,
    "intermediate_dim": 32,
    "image_shape": (32, 32, 3),
}
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {"use_key_bias": False},
    "gated": {"use_gated_mlp": True, "hidden_activation": "silu", "rope_theta": 10.0},
    "other tokens": {"num_register_tokens": 1, "use_mask_token": False, "layer_norm_eps": 1e-3},
}


def preset(folder, **settings):
    backbone = keras_hub.models.DINOV3Backbone(**{**SETTINGS, **settings})
    random = np.random.default_rng(0)
    for weight in backbone.weights:
        weight.assign(random.normal(0.0, 0.3, weight.shape))
    backbone.save_to_preset(str(folder))
    return str(folder)


def images(height, width):
    return np.random.default_rng(1).normal(size=(2, height, width, 3)).astype("float32")


@pytest.mark.parametrize("variant", VARIANTS)
def test_it_equals_keras_hubs_built_for_the_size(variant, tmp_path):
    folder = preset(tmp_path, **VARIANTS[variant])
    kind = keras_hub.models.DINOV3Backbone
    model = DINOv3.from_keras_hub(kind.from_preset(folder))
    for size in ((32, 32), (48, 24)):
        fixed = kind.from_preset(folder, image_shape=(*size, 3))
        tokens = fixed({"pixel_values": images(*size)}).numpy()
        tokens = tokens[:, 1 + fixed.num_register_tokens :]
        expected = tokens.reshape(2, size[0] // 8, size[1] // 8, 16)
        np.testing.assert_allclose(model(images(*size)), expected, atol=1e-5)


def test_unknown_sizes_with_and_without_xla(tmp_path):
    model = DINOv3.from_keras_hub(keras_hub.models.DINOV3Backbone.from_preset(preset(tmp_path)))
    assert model.output_shape == (None, None, None, 16)
    unknown = [tf.TensorSpec((None, None, None, 3))]
    for jit in (False, True):
        compiled = tf.function(model, input_signature=unknown, jit_compile=jit)
        expected = model(images(24, 72))
        np.testing.assert_allclose(compiled(images(24, 72)), expected, atol=1e-5)
    with pytest.raises(ValueError, match=r"multiples of the patch, 8 pixels"):
        model(images(32, 36))


def test_it_comes_back_from_its_configuration(tmp_path):
    backbone = keras_hub.models.DINOV3Backbone.from_preset(
        preset(tmp_path, use_gated_mlp=True, use_key_bias=False)
    )
    model = DINOv3.from_keras_hub(backbone)
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(model)))
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is DINOv3
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(again(images(24, 32)), model(images(24, 32)))


def test_mixed_precision_computes_in_bfloat16(tmp_path):
    folder = preset(tmp_path)
    expected = DINOv3.from_keras_hub(keras_hub.models.DINOV3Backbone.from_preset(folder))
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = DINOv3(expected.settings)
    model.set_weights(expected.get_weights())
    assert model(images(24, 32)).dtype == "bfloat16"
    low, high = (np.asarray(one(images(24, 32)), "float32") for one in (model, expected))
    assert 1e-6 < np.linalg.norm(low - high) / np.linalg.norm(high) < 0.06
