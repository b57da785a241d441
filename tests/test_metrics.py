import numpy as np
import pytest
import tensorflow as tf

from pcd_tf.losses import PixelContrastiveLoss
from pcd_tf.metrics import feature_spread, pixel_retrieval


def random_vectors(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def slow_spread(vectors: np.ndarray) -> float:
    units = [v / np.sqrt(v @ v) for v in vectors.reshape(-1, vectors.shape[-1]).astype("float64")]
    mean = sum(units) / len(units)
    return float(np.sqrt(sum((u - mean) @ (u - mean) for u in units) / len(units)))


def test_retrieval_against_a_slow_loop() -> None:
    positive, best = random_vectors(2, 3, 4), random_vectors(2, 3, 4, seed=1)
    found = pixel_retrieval(positive, best)
    assert found.dtype == "float32"
    for at in np.ndindex(positive.shape):
        assert found[at] == (1 if positive[at] > best[at] else 0)
    assert 0 < np.mean(found) < 1


def test_a_tie_is_not_found() -> None:
    assert float(pixel_retrieval([[[0.5]]], [[[0.5]]])[0, 0, 0]) == 0


def test_half_precision_scores() -> None:
    scores = tf.constant([[[0.5, -0.5]]], "float16")
    assert pixel_retrieval(scores, -scores).dtype == "float32"
    np.testing.assert_array_equal(pixel_retrieval(scores, -scores), [[[1, 0]]])


@pytest.mark.parametrize("num_negatives", [1, 4])
def test_guessing_gives_chance(num_negatives: int) -> None:
    maps = random_vectors(2, 8, 25, 50, 16)  # 10000 pixels of student and of teacher, unrelated
    found = []
    for i, (student, teacher) in enumerate(zip(*maps, strict=True)):
        negatives = random_vectors(num_negatives, 16, seed=i + 1)
        scores = PixelContrastiveLoss().with_scores(student[None], teacher[None], negatives)
        found.append(np.mean(pixel_retrieval(*scores[1:])))
    assert abs(np.mean(found) - 1 / (1 + num_negatives)) < 0.02


def test_a_student_like_its_teacher_finds_every_pixel() -> None:
    teacher, negatives = random_vectors(2, 3, 3, 16), random_vectors(50, 16, seed=1)
    scores = PixelContrastiveLoss().with_scores(teacher * 0.5, teacher, negatives)
    assert np.mean(pixel_retrieval(*scores[1:])) == 1
    scores = PixelContrastiveLoss().with_scores(-teacher, teacher, negatives)
    assert np.mean(pixel_retrieval(*scores[1:])) == 0


@pytest.mark.parametrize("shape", [(1, 4), (50, 3), (2, 3, 4, 8)])
@pytest.mark.parametrize("offset", [0.0, 2.0, 100.0])
def test_spread_against_a_slow_loop(shape: tuple[int, ...], offset: float) -> None:
    vectors = random_vectors(*shape) + np.float32(offset)
    assert feature_spread(vectors).shape == ()
    np.testing.assert_allclose(feature_spread(vectors), slow_spread(vectors), rtol=1e-4, atol=1e-6)


def test_spread_of_a_collapse_is_zero() -> None:
    norms = np.linspace(0.1, 10, 100, dtype="float32")[:, None]  # one direction, any norm
    assert float(feature_spread(norms * random_vectors(64))) < 1e-6


def test_spread_of_everywhere_is_one() -> None:
    vectors = random_vectors(100, 8)
    np.testing.assert_allclose(feature_spread(np.concatenate([vectors, -vectors])), 1, rtol=1e-6)
    assert float(feature_spread(random_vectors(4000, 64))) > 0.99


def test_spread_of_half_precision_is_float32() -> None:
    vectors = tf.cast(100 * random_vectors(20, 8), "float16")
    spread = feature_spread(vectors)
    assert spread.dtype == "float32"
    np.testing.assert_allclose(spread, slow_spread(np.asarray(vectors)), rtol=1e-4)


def test_inside_a_function_of_unknown_size() -> None:
    vectors = random_vectors(2, 3, 4, 8)
    traced = tf.function(feature_spread, input_signature=[tf.TensorSpec((None, None, None, 8))])
    np.testing.assert_allclose(traced(vectors), feature_spread(vectors), rtol=1e-5)
