"""The preset in KerasHub's tasks: raw images in, the run's normalisation with it."""

import dataclasses

import keras_hub
import numpy as np
import pytest

from export import _verify, keras_hub_preset
from pcd_tf.backbones.vit import VisionTransformer


@pytest.fixture(scope="module")
def preset(order, tmp_path_factory):
    directory = tmp_path_factory.mktemp("preset")
    keras_hub_preset.write(order, directory)
    return str(directory)


@pytest.fixture
def raw_images():
    return np.random.default_rng(0).integers(0, 256, (2, 40, 40, 3), "uint8")


def test_the_backbone(preset, student, raw_images):
    backbone = keras_hub.models.Backbone.from_preset(preset)
    assert type(backbone) is keras_hub.models.ResNetBackbone
    normalised = ((raw_images - np.array(student.mean)) / np.array(student.std)).astype("float32")
    expected = student.outputs(raw_images)["feature_map"]
    np.testing.assert_allclose(backbone(normalised), expected, rtol=1e-4, atol=1e-4)
    assert backbone.pyramid_outputs.keys() == {"P2", "P3", "P4", "P5"}


def test_the_image_converter_normalises_and_resizes(preset, student, raw_images):
    converter = keras_hub.layers.ImageConverter.from_preset(preset)
    assert type(converter) is keras_hub.layers.ResNetImageConverter
    normalised = (raw_images - np.array(student.mean)) / np.array(student.std)
    np.testing.assert_allclose(converter(raw_images), normalised, rtol=1e-5, atol=1e-5)
    assert converter(np.zeros((1, 90, 70, 3), "uint8")).shape == (1, 40, 40, 3)


def test_a_classifier_takes_raw_images(preset, student, raw_images):
    classifier = keras_hub.models.ImageClassifier.from_preset(preset, num_classes=5)
    assert type(classifier) is keras_hub.models.ResNetImageClassifier
    logits = classifier.predict(raw_images, verbose=0)
    assert logits.shape == (2, 5)
    embedding = student.outputs(raw_images)["embedding"]
    expected = classifier.get_layer("predictions")(embedding)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


def test_a_detector_takes_raw_images(preset, raw_images):
    backbone = keras_hub.models.Backbone.from_preset(preset)
    converter = keras_hub.layers.ImageConverter.from_preset(preset)
    detector = keras_hub.models.RetinaNetObjectDetector(
        backbone=keras_hub.models.RetinaNetBackbone(
            image_encoder=backbone, min_level=3, max_level=6, use_p5=False
        ),
        num_classes=3,
        bounding_box_format="xyxy",
        preprocessor=keras_hub.models.RetinaNetObjectDetectorPreprocessor(
            image_converter=keras_hub.layers.RetinaNetImageConverter(
                image_size=(64, 64), scale=converter.scale, offset=converter.offset
            )
        ),
    )
    found = detector(detector.preprocessor(raw_images))
    num_anchors = sum((64 // 2**level) ** 2 * 9 for level in (3, 4, 5, 6))
    assert found["cls_logits"].shape == (2, num_anchors, 3)
    assert np.all(np.isfinite(found["bbox_regression"]))


def test_the_size_that_is_asked_for(order, tmp_path):
    wanted = dataclasses.replace(order, height=32, width=64)
    keras_hub_preset.write(wanted, tmp_path)
    converter = keras_hub.layers.ImageConverter.from_preset(str(tmp_path))
    assert converter(np.zeros((1, 90, 70, 3), "uint8")).shape == (1, 32, 64, 3)


def test_a_vision_transformer_becomes_that_of_keras_hub(order, tmp_path):
    vit = VisionTransformer(8, num_layers=1, num_heads=2, hidden_dim=16, mlp_dim=32, image_size=32)
    for weight in vit.weights:
        weight.assign(np.random.default_rng(0).normal(0.0, 0.3, weight.shape))
    student = dataclasses.replace(order.student, backbone=vit)
    wanted = dataclasses.replace(order, student=student, height=40, width=48)
    keras_hub_preset.write(wanted, tmp_path)
    loaded = keras_hub.models.Backbone.from_preset(str(tmp_path))
    assert type(loaded) is keras_hub.models.ViTBackbone
    entrances = keras_hub_preset.entrances(wanted, tmp_path)
    report = _verify.check(wanted, entrances, _verify.Bound())
    assert report.sizes == {"from_preset": [(40, 48)]}
    classifier = keras_hub.models.ImageClassifier.from_preset(str(tmp_path), num_classes=5)
    assert classifier.predict(np.zeros((1, 40, 48, 3), "uint8"), verbose=0).shape == (1, 5)
