"""The objectives: each against a slow reference; gradients; the same scores whatever is trained."""

import numpy as np
import pytest
import tensorflow as tf

from pcd_tf import objectives
from pcd_tf.losses import PixelContrastiveLoss

NAMES = ("feature_mse", "image_contrastive", "pixel_contrastive")
TEMPERATURE = 0.3


def maps(seed, scale=1.0):
    random = np.random.default_rng(seed)
    return (scale * random.normal(0.4, 1.0, (3, 2, 4, 5))).astype("float32")


STUDENT, TEACHER = maps(0), maps(1)
NEGATIVES = np.random.default_rng(2).normal(0, 1, (7, 5)).astype("float32")


def values(name, student=STUDENT, teacher=TEACHER, negatives=NEGATIVES):
    return objectives.build(name)(PixelContrastiveLoss(TEMPERATURE), student, teacher, negatives)


def contrast(student, teacher):
    """The contrastive loss of two vectors by its definition."""

    def cosine(a, b):
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    positive = np.exp(cosine(student, teacher) / TEMPERATURE)
    others = sum(np.exp(cosine(student, negative) / TEMPERATURE) for negative in NEGATIVES)
    return -np.log(positive / (positive + others))


def squared_error(student, teacher):
    standardised = (teacher - teacher.mean()) / teacher.std()
    return float(np.mean((student - standardised) ** 2))


def reference(name):
    """The losses (N, H, W), pixel by pixel."""
    losses = np.empty(STUDENT.shape[:3])
    for n, i, j in np.ndindex(losses.shape):
        student, teacher = STUDENT[n].astype("float64"), TEACHER[n].astype("float64")
        if name == "image_contrastive":
            losses[n, i, j] = contrast(student.mean((0, 1)), teacher.mean((0, 1)))
        else:
            of_pixels = contrast if name == "pixel_contrastive" else squared_error
            losses[n, i, j] = of_pixels(student[i, j], teacher[i, j])
    return losses


def test_the_objectives_are_the_files():
    assert objectives.names() == NAMES
    with pytest.raises(ValueError, match="Did you mean 'feature_mse'"):
        objectives.build("feature_mae")


@pytest.mark.parametrize("name", NAMES)
def test_losses_equal_a_slow_reference_and_scores_are_those_of_pixels(name):
    losses, *scores = values(name)
    np.testing.assert_allclose(losses, reference(name), rtol=2e-5)
    for score, expected in zip(scores, values("pixel_contrastive")[1:], strict=True):
        np.testing.assert_allclose(score, expected, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_is_finite_right_and_the_students_alone(name):
    student, teacher = tf.Variable(STUDENT), tf.Variable(TEACHER)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(values(name, student, teacher)[0])
    gradient, none = tape.gradient(loss, [student, teacher])
    assert none is None or not np.any(none)
    gradient = np.array(gradient)
    assert np.isfinite(gradient).all()
    change = np.random.default_rng(3).normal(0, 1, STUDENT.shape).astype("float32") * 1e-2
    ahead, behind = (
        float(tf.reduce_mean(values(name, STUDENT + sign * change)[0])) for sign in (1, -1)
    )
    assert (gradient * change).sum() == pytest.approx((ahead - behind) / 2, rel=2e-2, abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_zero_maps_stay_finite(name):
    student = tf.Variable(np.zeros_like(STUDENT))
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(values(name, student, np.ones_like(TEACHER))[0])
    assert np.isfinite(float(loss))
    assert np.isfinite(tape.gradient(loss, student)).all()


def test_the_mean_squared_error_does_not_depend_on_the_teachers_scale():
    np.testing.assert_allclose(
        values("feature_mse", teacher=50 * TEACHER + 3)[0], values("feature_mse")[0], rtol=1e-4
    )
    assert float(tf.reduce_mean(values("feature_mse", 0 * STUDENT)[0])) == pytest.approx(1, 1e-4)


def test_where_things_lie_does_not_matter_to_the_image_objective():
    moved = STUDENT[:, ::-1, ::-1].copy()
    np.testing.assert_allclose(
        values("image_contrastive", moved)[0], values("image_contrastive")[0], rtol=1e-5
    )
    assert np.abs(values("pixel_contrastive", moved)[0] - reference("pixel_contrastive")).max() > 1
