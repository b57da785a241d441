"""KerasHub's RetinaNet: its loss, its start, its steps on replicas, what it finds and refuses."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from pcd_tf import detectors
from pcd_tf.detectors.keras_hub_retinanet import KerasHubRetinaNet
from tests.detectors import one_stage, small


@pytest.fixture(scope="module")
def model():
    return one_stage.build(KerasHubRetinaNet)


def test_it_starts_as_in_the_paper():
    model = detectors.build("keras_hub_retinanet", small.backbone(), **small.OPTIONS)
    images = tf.zeros((1, small.SIZE, small.SIZE, 3), tf.uint8)
    offsets, logits = (np.array(x) for x in model(images))
    np.testing.assert_allclose(1.0 / (1.0 + np.exp(-logits)), 0.01, atol=1e-3)
    np.testing.assert_allclose(offsets, 0.0, atol=0.05)
    heads = [v for v in model.trainable_variables if "head" in v.path and v.name == "kernel"]
    assert len(heads) == 10
    deviations = [float(np.std(np.array(kernel))) for kernel in heads]
    np.testing.assert_allclose(deviations, 0.01, rtol=0.05)
    assert not np.allclose(heads[0], heads[1])


def test_loss_equals_a_numpy_computation(model):
    batch = small.batch()
    expected = one_stage.losses_by_hand(model, batch)
    logs = model.train_step(one_stage.tensors(batch))
    found = [float(logs[name]) for name in ("class_loss", "box_loss", "positive_anchors")]
    assert expected[2] > 20
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_images_without_objects_give_a_finite_loss(model):
    logs = model.train_step(one_stage.tensors(small.batch((0, 0))))
    assert 0.0 < float(logs["class_loss"]) < 10.0
    assert float(logs["box_loss"]) == float(logs["positive_anchors"]) == 0.0
    assert all(np.isfinite(np.array(variable)).all() for variable in model.trainable_variables)


def test_two_replicas_train_as_one(two_replicas):
    batch = small.batch((1, 2, 0, 1))
    model, logs = one_stage.step_on_replicas(KerasHubRetinaNet, two_replicas, batch)
    single = one_stage.build(KerasHubRetinaNet)
    values = single.train_step(one_stage.tensors(batch))
    assert logs == pytest.approx({name: float(x) for name, x in values.items()}, rel=2e-4)
    for one, other in zip(model.variables, single.variables, strict=True):
        np.testing.assert_allclose(np.array(one), np.array(other), rtol=2e-3, atol=2e-6)


def test_what_targets_encode_detect_decodes(model, monkeypatch):
    batch = small.batch((1, 1, 1), seed=5)
    images, labels = tf.constant(batch["images"]), tf.cast(batch["labels"], tf.float32)
    offsets, classes = model.targets(images, tf.constant(batch["boxes"]), labels)
    logits = 12.0 * tf.one_hot(tf.cast(classes, tf.int32), 2) - 6.0
    monkeypatch.setattr(type(model), "call", lambda *_, **__: (offsets, logits))
    found = {name: np.array(value) for name, value in model.detect(images).items()}
    assert found["count"].tolist() == [1, 1, 1]
    np.testing.assert_allclose(found["boxes"][:, 0], batch["boxes"][:, 0], atol=1e-3)
    assert found["classes"][:, 0].tolist() == batch["labels"][:, 0].tolist()


def test_boxes_are_learnt_in_float32_under_mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = one_stage.build(KerasHubRetinaNet, class_names=("one",))
    batch = small.batch((1, 1))
    batch["labels"] = np.minimum(batch["labels"], 0)
    offsets, logits = model(batch["images"])
    assert offsets.dtype == logits.dtype == "float32"
    labels = tf.cast(batch["labels"], tf.float32)
    images, boxes = tf.constant(batch["images"]), tf.constant(batch["boxes"])
    in_bfloat16 = np.array(model.targets(images, boxes, labels)[0])
    keras.config.set_dtype_policy("float32")
    exact = one_stage.build(KerasHubRetinaNet, class_names=("one",)).targets(images, boxes, labels)
    np.testing.assert_array_equal(in_bfloat16, np.array(exact[0]))
    logs = model.train_step(one_stage.tensors(batch))
    assert all(np.isfinite(float(value)) for value in logs.values())


def test_a_backbone_without_the_levels_is_refused():
    with pytest.raises(ValueError, match="Received: 'small' without P5, with P2, P3, P4"):
        KerasHubRetinaNet(small.backbone(depth=4), **small.OPTIONS)
