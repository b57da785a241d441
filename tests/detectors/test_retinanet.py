"""keras-cv's RetinaNet: its loss, its steps on replicas, what it finds, what it refuses."""

import numpy as np
import pytest
import tensorflow as tf

from pcd_tf import detectors
from pcd_tf.detectors import _losses
from pcd_tf.detectors.retinanet import RetinaNet
from tests.detectors import one_stage, small


@pytest.fixture(scope="module")
def model():
    return one_stage.build(RetinaNet)


def test_names_and_build_know_the_detectors():
    assert {"retinanet", "keras_hub_retinanet"} <= set(detectors.names())
    with pytest.raises(ValueError, match="Did you mean 'retinanet'?"):
        detectors.build("retina_net", small.backbone(), **small.OPTIONS)


def test_focal_loss_on_a_case_by_hand():
    logits = np.log([[0.9 / 0.1, 0.2 / 0.8]]).astype(np.float32)  # probabilities 0.9 and 0.2
    expected = -0.25 * 0.1**2 * np.log(0.9) - 0.75 * 0.2**2 * np.log(0.8)
    np.testing.assert_allclose(_losses.focal(np.array([[1.0, 0.0]]), logits), [expected], rtol=1e-5)


def test_a_certain_mistake_has_a_finite_focal_loss_and_a_gradient():
    logits = tf.Variable([[-200.0]])
    with tf.GradientTape() as tape:
        loss = _losses.focal(tf.ones((1, 1)), logits)
    np.testing.assert_allclose(loss, [50.0], rtol=1e-6)
    np.testing.assert_allclose(tape.gradient(loss, logits), [[-0.25]], rtol=1e-6)


def test_smooth_l1_loss_on_a_case_by_hand():
    values = np.array([[0.5, -1.0, 3.0, 0.0]], np.float32)
    np.testing.assert_allclose(_losses.smooth_l1(0.0 * values, values), [3.125 / 4])


def test_loss_equals_a_numpy_computation(model):
    batch = small.batch()
    expected = one_stage.losses_by_hand(model, batch)
    logs = model.train_step(one_stage.tensors(batch))
    found = [float(logs[name]) for name in ("class_loss", "box_loss", "positive_anchors")]
    assert expected[2] > 20
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    np.testing.assert_allclose(float(logs["loss"]), sum(expected[:2]), rtol=1e-4)


@pytest.mark.parametrize("numbers", [(0, 0), (1, 0)])
def test_images_without_objects_give_a_finite_loss(numbers, model):
    logs = model.train_step(one_stage.tensors(small.batch(numbers)))
    assert all(np.isfinite(float(value)) for value in logs.values())
    assert (float(logs["box_loss"]) > 0) == any(numbers)
    assert all(np.isfinite(np.array(variable)).all() for variable in model.trainable_variables)


def test_boxes_in_places_without_an_object_are_not_learnt(model):
    batch = small.batch((0, 0))
    batch["boxes"][:] = (0, 0, 40, 40)
    assert float(model.train_step(one_stage.tensors(batch))["positive_anchors"]) == 0


def test_two_replicas_train_as_one(two_replicas):
    # The replicas' halves have three objects and one: their means would be another loss.
    batch = small.batch((1, 2, 0, 1))
    model, logs = one_stage.step_on_replicas(RetinaNet, two_replicas, batch)
    single = one_stage.build(RetinaNet)
    values = single.train_step(one_stage.tensors(batch))
    assert logs == pytest.approx({name: float(x) for name, x in values.items()}, rel=2e-4)
    for one, other in zip(model.variables, single.variables, strict=True):
        if "percent_boxes" not in one.path:
            np.testing.assert_allclose(np.array(one), np.array(other), rtol=2e-3, atol=2e-6)


def test_detections_are_sorted_and_inside_of_the_image(model):
    images = tf.constant(small.batch((1, 2))["images"])
    found = {name: np.array(x) for name, x in model.detect(images, score_threshold=0.0).items()}
    assert found["boxes"].shape == (2, 100, 4)
    assert found["classes"].dtype == found["count"].dtype == np.int32
    assert found["count"].min() > 2
    assert (np.diff(found["scores"]) <= 0).all()
    assert (found["boxes"] >= 0).all()
    assert (found["boxes"] <= small.SIZE).all()
    for i, count in enumerate(found["count"]):
        assert (found["boxes"][i, count:] == 0).all()
        best, classes = found["boxes"][i, :count], found["classes"][i, :count]
        of_first = classes[1:] == classes[0]
        overlaps = [one_stage.overlap_of_two(best[0], box) for box in best[1:][of_first]]
        assert max(overlaps, default=0.0) <= 0.5 + 1e-5


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


def test_smaller_anchors_learn_smaller_objects():
    batch = small.batch((1,))
    batch["boxes"][0, 0] = (20, 20, 36, 36)
    images, labels = tf.constant(batch["images"]), tf.cast(batch["labels"], tf.float32)
    positive = []
    for anchor_size in (4.0, 2.0):
        model = one_stage.build(RetinaNet, anchor_size=anchor_size)
        classes = model.targets(images, tf.constant(batch["boxes"]), labels)[1]
        positive.append(int(np.sum(np.array(classes) >= 0)))
    assert positive[0] == 0 < positive[1]


def test_layers_behind_the_pyramid_are_kept_but_not_trained():
    deep = small.backbone(depth=6)
    model = RetinaNet(deep, **small.OPTIONS)
    assert model.backbone is deep
    trained = {id(variable) for variable in model.trainable_variables}
    kernels = [layer.kernel for layer in deep.layers if hasattr(layer, "kernel")]
    assert [id(kernel) in trained for kernel in kernels] == [True] * 5 + [False]


@pytest.mark.parametrize("class_names", [(), ("cell", "cell"), ("",), "cell"])
def test_class_names_must_be_different_names(class_names):
    with pytest.raises(ValueError, match="names of one class or more"):
        RetinaNet(small.backbone(), **{**small.OPTIONS, "class_names": class_names})


def test_a_backbone_without_the_levels_is_refused():
    with pytest.raises(ValueError, match="Received: 'small' without P5, with P2, P3, P4"):
        RetinaNet(small.backbone(depth=4), **small.OPTIONS)


def test_a_size_that_the_pyramid_does_not_fit_is_refused(model):
    with pytest.raises(ValueError, match="multiples of 32 pixels.* Received: 48 x 64"):
        model(np.zeros((1, 48, 64, 3), np.uint8))
