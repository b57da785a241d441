import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from pcd_tf.schedules import WarmupSteps, cosine_momentum, scaled_rate, warmup_cosine


def test_scaled_rate_is_the_linear_rule_without_integer_division() -> None:
    assert scaled_rate(1.0, 1024) == 4.0
    assert scaled_rate(0.6, 64) == pytest.approx(0.15)
    assert scaled_rate(1.0, 8) == pytest.approx(1 / 32)


def test_scaled_rate_refuses_an_empty_batch() -> None:
    with pytest.raises(ValueError, match=r"positive.*Received: global_batch_size=0"):
        scaled_rate(1.0, 0)


def test_warmup_cosine_at_its_corners() -> None:
    rate = warmup_cosine(peak=4.0, warmup_steps=10, total_steps=110)
    expected = {0: 0.0, 1: 0.4, 5: 2.0, 10: 4.0, 35: 2 + math.sqrt(2), 60: 2.0, 110: 0.0, 500: 0.0}
    received = {step: float(rate(step)) for step in expected}
    assert received == pytest.approx(expected, abs=1e-6)


def test_warmup_cosine_never_exceeds_the_peak_and_has_one_summit() -> None:
    rate = warmup_cosine(peak=1.5, warmup_steps=7, total_steps=40)
    values = np.array([float(rate(step)) for step in range(41)])
    assert values.argmax() == 7
    assert (np.diff(values[:8]) > 0).all()
    assert (np.diff(values[7:]) < 0).all()


def test_warmup_cosine_without_warmup_starts_at_the_peak() -> None:
    rate = warmup_cosine(peak=3.0, warmup_steps=0, total_steps=10)
    assert [float(rate(step)) for step in (0, 5, 10)] == pytest.approx([3.0, 1.5, 0.0], abs=1e-6)


@pytest.mark.parametrize("warmup_steps", [0, 3])
def test_warmup_cosine_in_a_graph_and_after_a_round_trip(warmup_steps: int) -> None:
    rate = warmup_cosine(peak=3.0, warmup_steps=warmup_steps, total_steps=10)
    serialized = keras.optimizers.schedules.serialize(rate)
    again = keras.optimizers.schedules.deserialize(serialized)
    in_graph = tf.function(again, input_signature=[tf.TensorSpec((), "int64")])
    for step in range(12):
        assert float(in_graph(step)) == pytest.approx(float(rate(step)), abs=1e-6)


@pytest.mark.parametrize("steps", [(10, 10), (11, 10), (-1, 10), (0, 0)])
def test_warmup_cosine_refuses_a_warmup_as_long_as_the_run(steps: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"shorter than the run.*Received: warmup_steps="):
        warmup_cosine(1.0, *steps)


def test_cosine_momentum_rises_from_start_to_one() -> None:
    values = [float(cosine_momentum(0.99, step, 100)) for step in (0, 25, 50, 100, 130)]
    quarter = 1 - 0.01 * (math.cos(math.pi / 4) + 1) / 2
    assert values == pytest.approx([0.99, quarter, 0.995, 1.0, 1.0], abs=1e-6)


def test_cosine_momentum_takes_the_optimizers_step_in_a_graph() -> None:
    step = tf.Variable(30, dtype="int64")
    received = tf.function(lambda: cosine_momentum(0.996, step, 120))()
    assert received.dtype == "float32"
    assert float(received) == pytest.approx(float(cosine_momentum(0.996, 30, 120)))


def test_cosine_momentum_refuses_no_steps() -> None:
    with pytest.raises(ValueError, match=r"positive.*Received: total_steps=0"):
        cosine_momentum(0.99, 0, 0)


@pytest.mark.parametrize(
    ("step", "rate"), [(0, 0.0), (5, 1.0), (10, 2.0), (59, 2.0), (60, 0.2), (79, 0.2), (80, 0.02)]
)
def test_warmup_steps_rises_then_falls_at_its_boundaries(step, rate):
    schedule = WarmupSteps(2.0, 10, [60, 80])
    assert float(schedule(step)) == pytest.approx(rate, abs=1e-7)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert float(again(step)) == pytest.approx(rate, abs=1e-7)


def test_warmup_steps_without_a_warm_up_starts_at_the_peak():
    assert float(WarmupSteps(2.0, 0, [60])(0)) == 2.0
