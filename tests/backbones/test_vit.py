"""VisionTransformer: a map for images of any size, and KerasHub's network behind it."""

import json

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from pcd_tf.backbones.vit import VisionTransformer

SIZES = [(32, 32), (40, 24), (16, 64)]


@pytest.fixture(scope="module")
def vit():
    return scrambled(make())


def make(**settings):
    return VisionTransformer(8, 2, 2, 16, 32, image_size=32, **settings)


def scrambled(model):
    random = np.random.default_rng(0)
    for weight in model.weights:
        if weight.trainable:
            weight.assign(random.normal(0.0, 0.3, weight.shape))
    return model


def images(height=32, width=32):
    return np.random.default_rng(1).normal(size=(2, height, width, 3)).astype("float32")


@pytest.mark.parametrize("size", SIZES)
def test_it_equals_keras_hubs_own_at_every_size(vit, size):
    fixed = vit.to_keras_hub(size)
    assert type(fixed) is keras_hub.models.ViTBackbone
    assert fixed.image_shape == (*size, 3)
    received = vit(images(*size))
    assert received.shape == (2, size[0] // 8, size[1] // 8, 16)
    tokens = keras.ops.convert_to_numpy(fixed(images(*size)))
    expected = tokens[:, 1:].reshape(received.shape)
    np.testing.assert_allclose(received, expected, atol=1e-5)


def test_keras_hubs_own_is_a_copy(vit):
    fixed = vit.to_keras_hub(32)
    before = vit(images()).numpy()
    for weight in fixed.weights:
        weight.assign(keras.ops.zeros_like(weight))
    np.testing.assert_array_equal(vit(images()), before)


def test_positions_tell_places_apart(vit):
    same = np.tile(images(8, 8), (1, 4, 4, 1))  # each patch is the same
    tokens = vit(same).numpy().reshape(2, 16, 16)
    assert np.min(np.std(tokens, axis=1)) > 1e-3


@pytest.mark.parametrize("jit", [False, True])
def test_graphs_for_unknown_sizes_and_xla_give_the_same(vit, jit):
    unknown = [tf.TensorSpec((None, None, None, 3))]
    compiled = tf.function(vit, input_signature=unknown, jit_compile=jit)
    for size in SIZES[1:]:
        np.testing.assert_allclose(compiled(images(*size)), vit(images(*size)), atol=1e-5)


def test_a_saved_model_takes_any_size(vit, tmp_path):
    vit.export(str(tmp_path / "saved"), verbose=False)
    served = tf.saved_model.load(str(tmp_path / "saved"))
    for size in SIZES:
        expected = vit(images(*size))
        np.testing.assert_allclose(served.serve(images(*size)), expected, atol=1e-5)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"Input to reshape"):
        served.serve(images(33, 24))


@pytest.mark.parametrize("size", [(36, 32), (32, 4), (33, 33), (0, 32)])
def test_sides_that_are_no_multiples_of_the_patch_are_refused(vit, size):
    message = rf"multiples of the patch, 8 pixels.*Received: {size[0]} x {size[1]} pixels"
    with pytest.raises(ValueError, match=message):
        vit(images(*size))
    with pytest.raises(ValueError, match=message):
        vit(keras.Input((*size, 3)))
    with pytest.raises(ValueError, match=message):
        tf.function(vit).get_concrete_function(tf.TensorSpec((None, *size, 3)))


def test_symbolic_shapes_are_known_where_the_images_are(vit):
    assert vit.output_shape == (None, None, None, 16)
    assert vit(keras.Input((40, 24, 3))).shape == (None, 5, 3, 16)
    assert vit(keras.Input((40, None, 3))).shape == (None, 5, None, 16)


def test_everything_learns_at_any_size_but_fixed_positions(vit):
    for positions in ("learned", "sine_cosine"):
        model = vit if positions == "learned" else scrambled(make(positions=positions))
        names = [weight.path for weight in model.trainable_variables]
        assert ("tokens/positions" in names) == (positions == "learned")
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(images(40, 24)) ** 3)
        gradients = tape.gradient(loss, model.trainable_variables)
        for name, gradient in zip(names, gradients, strict=True):
            assert gradient is not None, name
            if not name.endswith("key/bias"):  # softmax does not see it
                assert np.max(np.abs(gradient)) > 1e-6, name


def test_fixed_positions_are_moco_v3s():
    tokens = make(positions="sine_cosine").get_layer("tokens")
    assert tokens.positions.shape == (1, 17, 16)
    np.testing.assert_array_equal(tokens.positions[0, 0], np.zeros(16))
    # Row 2, column 3 of 4 x 4: sines and cosines of the row, then of the column.
    frequencies = 10000.0 ** (-np.arange(4) / 4)
    angles = [2 * frequencies, 3 * frequencies]
    expected = np.concatenate([wave(angle) for angle in angles for wave in (np.sin, np.cos)])
    np.testing.assert_allclose(tokens.positions[0, 1 + 2 * 4 + 3], expected, atol=1e-6)


def test_its_pyramid_is_the_level_of_its_stride(vit):
    assert list(vit.pyramid_outputs) == ["P3"]
    assert vit.pyramid_outputs["P3"] is vit.output
    assert VisionTransformer(6, 1, 2, 8, 8, image_size=12).pyramid_outputs == {}


def test_it_comes_back_from_its_configuration(vit):
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(vit)))
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is VisionTransformer
    assert again.get_config() == vit.get_config()
    again.set_weights(vit.get_weights())
    np.testing.assert_array_equal(again(images(40, 24)), vit(images(40, 24)))


def test_it_comes_back_from_a_keras_file_and_from_a_preset(vit, tmp_path):
    vit.save(tmp_path / "vit.keras")
    vit.save_to_preset(str(tmp_path / "preset"))
    for again in (
        keras.saving.load_model(tmp_path / "vit.keras"),
        keras_hub.models.Backbone.from_preset(str(tmp_path / "preset")),
    ):
        assert type(again) is VisionTransformer
        np.testing.assert_array_equal(again(images(40, 24)), vit(images(40, 24)))


def test_mixed_precision_computes_in_bfloat16_and_keeps_float32(vit):
    keras.config.set_dtype_policy("mixed_bfloat16")
    mixed = make()
    mixed.set_weights(vit.get_weights())
    assert mixed(images(40, 24)).dtype == "bfloat16"
    assert {weight.dtype for weight in mixed.weights} == {"float32"}
    received, expected = (np.asarray(model(images(40, 24)), "float32") for model in (mixed, vit))
    error = np.linalg.norm(received - expected) / np.linalg.norm(expected)
    assert 1e-6 < error < 0.05


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match=r"learned, sine_cosine\. Received: positions='rotary'"):
        make(positions="rotary")
    with pytest.raises(ValueError, match=r"Received: 15 channels, 2 heads, an image of 32"):
        VisionTransformer(8, 2, 2, 15, 32, image_size=32)
    with pytest.raises(ValueError, match=r"an image of 30 pixels, patches of 8"):
        VisionTransformer(8, 2, 2, 16, 32, image_size=30)
