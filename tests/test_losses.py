from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from pcd_tf import losses
from pcd_tf.losses import MIN_TEMPERATURE, PixelContrastiveLoss

BLOCK = 8
SIZE = (2, 2, 3, 5)  # B, H, W, D: 12 pixels
# Below, equal to, above, and a multiple of the block; the last not a multiple of it.
NUM_NEGATIVES = (1, 3, BLOCK, BLOCK + 1, 3 * BLOCK, 3 * BLOCK + 5)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "BLOCK", BLOCK)


def random_inputs(num_negatives: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Student and teacher maps that are alike, and negatives; of any norm."""
    rng = np.random.default_rng(seed)
    student = rng.normal(size=SIZE)
    teacher = 3.0 * student + rng.normal(size=SIZE)
    negatives = rng.normal(size=(num_negatives, SIZE[-1])) * rng.uniform(0.1, 9, (num_negatives, 1))
    return student.astype("f4"), teacher.astype("f4"), negatives.astype("f4")


def slow_scores(
    student: np.ndarray, teacher: np.ndarray, negatives: np.ndarray, temperature: float = 0.2
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Loss, positive and best negative cosine: float64, one pixel and one negative at a time."""

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ b / np.sqrt((a @ a) * (b @ b)))

    maps = [np.asarray(x, "float64") for x in (student, teacher)]
    negatives = np.asarray(negatives, "float64")
    out = np.empty((3, *student.shape[:3]))
    for at in np.ndindex(student.shape[:3]):
        s, t = maps[0][at], maps[1][at]
        positive = cosine(s, t)
        others = [cosine(s, n) for n in negatives]
        # log(1 + sum exp(difference)): exact also where the loss is tiny
        total = sum(np.exp((other - positive) / temperature) for other in others)
        out[(slice(None), *at)] = np.log1p(total), positive, max(others)
    return out[0], out[1], out[2]


def slow_gradient(
    student: np.ndarray, *rest: np.ndarray, weights: np.ndarray, temperature: float = 0.2
) -> np.ndarray:
    """Central differences of the weighted sum of the slow loss, in float64."""
    student, gradient, step = student.astype("float64"), np.empty(student.shape), 1e-5
    for at in np.ndindex(student.shape):
        ends = []
        for sign in (1, -1):
            moved = student.copy()
            moved[at] += sign * step
            pixel = tuple(slice(i, i + 1) for i in at[:3])  # the other pixels do not depend on it
            value = slow_scores(moved[pixel], rest[0][pixel], rest[1], temperature)[0]
            ends.append((value * weights[pixel]).sum())
        gradient[at] = (ends[0] - ends[1]) / (2 * step)
    return gradient


def gradients(
    loss: Any, *inputs: np.ndarray, weights: np.ndarray | float = 1.0
) -> tuple[Any, list[Any]]:
    """Values, and gradients of their weighted sum to student, teacher and negatives."""
    tensors = [tf.convert_to_tensor(x) for x in inputs]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        values = loss(*tensors)
        total = tf.reduce_sum(values * weights)
    return values, tape.gradient(total, tensors)


@pytest.mark.parametrize("num_negatives", NUM_NEGATIVES)
def test_values_against_a_slow_loop(num_negatives: int) -> None:
    inputs = random_inputs(num_negatives)
    for out, expected in zip(
        PixelContrastiveLoss(0.2).with_scores(*inputs), slow_scores(*inputs), strict=True
    ):
        assert out.shape == SIZE[:3]
        assert out.dtype == "float32"
        np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("num_negatives", NUM_NEGATIVES)
def test_gradient_against_finite_differences(num_negatives: int) -> None:
    inputs = random_inputs(num_negatives)
    weights = np.random.default_rng(1).uniform(0, 2, SIZE[:3]).astype("float32")
    _, (gradient, *others) = gradients(PixelContrastiveLoss(0.2), *inputs, weights=weights)
    expected = slow_gradient(*inputs, weights=weights)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    assert others == [None, None]  # none to teacher and negatives


def test_gradient_against_the_plain_form() -> None:
    """As above, at the size of a real block, by TensorFlow's own differentiation in float64."""
    rng = np.random.default_rng(0)
    maps, negatives = rng.normal(size=(2, 2, 7, 7, 32)), rng.normal(size=(500, 32))

    def plain(student: Any, teacher: Any, others: Any) -> Any:
        s, t, n = (tf.math.l2_normalize(x, axis=-1) for x in (student, teacher, others))
        positive = tf.reduce_sum(s * t, axis=-1, keepdims=True)  # [B, H, W, 1]
        logits = tf.concat([positive, s @ tf.transpose(n)], axis=-1) / 0.2  # [B, H, W, 1 + K]
        return tf.reduce_logsumexp(logits, axis=-1) - logits[..., 0]

    expected, (expected_gradient, *_) = gradients(plain, *maps, negatives)
    inputs = [x.astype("float32") for x in (*maps, negatives)]
    values, (gradient, *_) = gradients(PixelContrastiveLoss(0.2), *inputs)
    np.testing.assert_allclose(values, expected, rtol=1e-5)
    largest = np.abs(expected_gradient).max()
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-5, atol=1e-5 * largest)


def test_the_scores_carry_no_gradient() -> None:
    student, teacher, negatives = (tf.convert_to_tensor(x) for x in random_inputs(20))
    with tf.GradientTape() as tape:
        tape.watch(student)
        _, positive, best = PixelContrastiveLoss().with_scores(student, teacher, negatives)
        total = tf.reduce_sum(positive + best)
    assert tape.gradient(total, student) is None


# Closed forms, on unit vectors e_0, e_1, ... of the axes.


def axes(*indices: int) -> np.ndarray:
    return np.eye(SIZE[-1], dtype="float32")[list(indices)]


def one_pixel(student: int, teacher: int, negatives: list[int], temperature: float) -> float:
    loss = PixelContrastiveLoss(temperature)
    values = loss(axes(student)[None, None], axes(teacher)[None, None], axes(*negatives))
    return float(values[0, 0, 0])


@pytest.mark.parametrize("temperature", [0.07, 0.2, 1.0])
def test_closed_forms(temperature: float) -> None:
    own = np.exp(1 / temperature)
    cases = {
        np.log1p(4 / own): one_pixel(0, 0, [1, 2, 3, 4], temperature),  # all orthogonal
        np.log(2): one_pixel(0, 0, [0], temperature),  # one equal to the positive
        np.log(1 + BLOCK + 2): one_pixel(0, 1, [2] * (BLOCK + 2), temperature),  # nothing alike
        np.log1p(own): one_pixel(0, 1, [0], temperature),  # a negative hit, the positive missed
    }
    np.testing.assert_allclose(list(cases.values()), list(cases), rtol=1e-5, atol=1e-6)


def test_order_of_negatives_changes_nothing() -> None:
    student, teacher, negatives = random_inputs(3 * BLOCK + 5)
    shuffled = np.random.default_rng(1).permutation(negatives)
    loss = PixelContrastiveLoss()
    np.testing.assert_allclose(
        loss(student, teacher, shuffled), loss(student, teacher, negatives), rtol=1e-5
    )


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_scale_of_inputs_changes_nothing(scale: float) -> None:
    inputs = random_inputs(20)
    values, (gradient, *_) = gradients(PixelContrastiveLoss(), *inputs)
    scaled, (scaled_gradient, *_) = gradients(
        PixelContrastiveLoss(), *(x * np.float32(scale) for x in inputs)
    )
    np.testing.assert_allclose(scaled, values, rtol=1e-5)
    np.testing.assert_allclose(scaled_gradient * scale, gradient, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_inputs(dtype: str) -> None:
    inputs = [tf.cast(x * 100, dtype) for x in random_inputs(20)]  # 100: squares overflow float16
    values, (gradient, *_) = gradients(PixelContrastiveLoss(), *inputs)
    assert values.dtype == "float32"
    assert gradient.dtype == dtype
    student, teacher, negatives = (np.asarray(tf.cast(x, "float32")) for x in inputs)
    np.testing.assert_allclose(values, slow_scores(student, teacher, negatives)[0], rtol=1e-5)
    assert np.isfinite(np.asarray(gradient, "float32")).all()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("temperature", [MIN_TEMPERATURE, 0.2])
def test_opposite_vectors_stay_finite(dtype: str, temperature: float) -> None:
    student = tf.cast(tf.ones((1, 1, 1, 4)), dtype)
    negatives = tf.cast(tf.stack([tf.ones(4), -tf.ones(4)]), dtype)
    values, (gradient, *_) = gradients(
        PixelContrastiveLoss(temperature), student, -student, negatives
    )
    np.testing.assert_allclose(values, 2 / temperature, rtol=1e-5)
    assert np.isfinite(np.asarray(gradient, "float32")).all()


def test_smallest_temperature_is_accurate() -> None:
    student, teacher, negatives = random_inputs(BLOCK + 3)
    negatives[0] = -student[0, 0, 0]  # the smallest term there is, exp(-2 / T)
    inputs = student, teacher, negatives
    weights = np.ones(SIZE[:3])
    for out, expected in zip(
        PixelContrastiveLoss(MIN_TEMPERATURE).with_scores(*inputs),
        slow_scores(*inputs, temperature=MIN_TEMPERATURE),
        strict=True,
    ):
        np.testing.assert_allclose(out, expected, rtol=2e-5, atol=1e-5)
    _, (gradient, *_) = gradients(PixelContrastiveLoss(MIN_TEMPERATURE), *inputs)
    expected = slow_gradient(*inputs, weights=weights, temperature=MIN_TEMPERATURE)
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_all_negatives_opposite_at_the_smallest_temperature() -> None:
    pixel = axes(0)[None, None]
    loss = PixelContrastiveLoss(MIN_TEMPERATURE)
    values, positive, best = loss.with_scores(pixel, -pixel, np.repeat(-axes(0), 20, axis=0))
    np.testing.assert_allclose(values, np.log(21), rtol=1e-5)  # all terms are exp(-2 / T)
    np.testing.assert_allclose([positive, best], -1, rtol=1e-5)


def test_best_negative_is_found_in_any_block() -> None:
    student, teacher, negatives = random_inputs(3 * BLOCK + 5)
    for place in (0, BLOCK - 1, BLOCK, 3 * BLOCK - 1, 3 * BLOCK, 3 * BLOCK + 4):
        hit = negatives.copy()
        hit[place] = 7 * student[1, 0, 2]
        best = PixelContrastiveLoss().with_scores(student, teacher, hit)[2]
        assert abs(float(best[1, 0, 2]) - 1) < 1e-6


@pytest.mark.parametrize("zero", ["student", "teacher", "negatives"])
def test_zero_vectors_neither_break_nor_blow_up(zero: str) -> None:
    inputs = dict(zip(("student", "teacher", "negatives"), random_inputs(20), strict=True))
    inputs[zero][0] = 0  # one image, or one negative
    values, (gradient, *_) = gradients(PixelContrastiveLoss(), *inputs.values())
    if zero == "student":
        np.testing.assert_allclose(values[0], np.log(21), rtol=1e-5)  # alike to all
    assert np.isfinite(values).all()
    assert np.abs(gradient).max() < 20


def tensors_of(graph: Any) -> Iterator[Any]:
    """All tensors of a traced function, those of loops and inner functions too."""
    for operation in graph.get_operations():
        yield from operation.outputs
    for function in graph._functions.values():
        yield from tensors_of(function.graph)


@pytest.mark.parametrize("compiled", [False, True])
def test_no_tensor_of_all_pixels_and_all_negatives(compiled: bool) -> None:
    num_pixels, num_negatives = 11 * 13, 17 * BLOCK  # sizes that no product of others gives
    loss = PixelContrastiveLoss()

    @tf.function(jit_compile=compiled)
    def step(student: Any, teacher: Any, negatives: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(student)
            values = loss(student, teacher, negatives)
        return values, tape.gradient(values, student)

    maps = tf.TensorSpec((1, 11, 13, 5))
    graph = step.get_concrete_function(maps, maps, tf.TensorSpec((num_negatives, 5))).graph
    sizes = {tensor.shape.num_elements() for tensor in tensors_of(graph)}
    assert num_pixels * BLOCK in sizes  # the walk reaches the inside of the loop
    assert max(size for size in sizes if size) == num_pixels * BLOCK


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("num_negatives", [3, 3 * BLOCK + 5])
def test_inside_a_function(num_negatives: int, compiled: bool) -> None:
    loss, inputs = PixelContrastiveLoss(), random_inputs(num_negatives)
    queue = keras.Variable(inputs[2], trainable=False)

    @tf.function(
        input_signature=[tf.TensorSpec((None, None, None, SIZE[-1]))] * 2, jit_compile=compiled
    )
    def step(student: Any, teacher: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(student)
            values = loss(student, teacher, queue)
        return values, tape.gradient(values, student)

    values, gradient = step(*inputs[:2])
    expected, (expected_gradient, *_) = gradients(loss, *inputs)
    np.testing.assert_allclose(values, expected, rtol=1e-5)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-4, atol=1e-5)
    assert step(inputs[0][:1], inputs[1][:1])[0].shape == (1, *SIZE[1:3])  # another batch


def test_serialisation() -> None:
    loss = PixelContrastiveLoss(temperature=0.07)
    config = keras.saving.serialize_keras_object(loss)
    assert config["registered_name"] == "pcd_tf>PixelContrastiveLoss"
    assert keras.saving.deserialize_keras_object(config).get_config() == {"temperature": 0.07}
    assert PixelContrastiveLoss().temperature == 0.2


@pytest.mark.parametrize("temperature", [0.0, -1.0, MIN_TEMPERATURE * 0.99, float("nan")])
def test_temperatures_too_small(temperature: float) -> None:
    with pytest.raises(ValueError, match="must be at least 0.025: .* Received: temperature="):
        PixelContrastiveLoss(temperature)


@pytest.mark.parametrize(
    "shapes",
    [
        [(2, 3, 3, 4), (2, 3, 4, 4), (8, 4)],
        [(2, 3, 3, 4), (2, 3, 3, 5), (8, 4)],
        [(2, 3, 3, 4), (2, 3, 3, 4), (8, 5)],
        [(2, 3, 3, 4), (2, 3, 3, 4), (0, 4)],
        [(2, 3, 3, 4), (2, 3, 3, 4), (8, 1, 4)],
        [(2, 4), (2, 4), (8, 4)],
    ],
)
def test_shapes_that_do_not_fit(shapes: list[tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match=rf"of one shape .*Received: student \({shapes[0][0]}, "):
        PixelContrastiveLoss()(*(np.ones(shape, "float32") for shape in shapes))
