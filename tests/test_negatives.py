from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from pcd_tf.negatives import NegativeQueue

SIZE, DIM = 7, 4


def random_keys(num: int, seed: int = 0) -> np.ndarray:
    """Keys of norms between 0.1 and 10."""
    rng = np.random.default_rng(seed)
    keys = rng.normal(size=(num, DIM))
    return (keys * rng.uniform(0.1, 10, (num, 1))).astype("float32")


def slow_enqueue(vectors: np.ndarray, place: int, keys: np.ndarray) -> int:
    """Writes one key after the other in place, and returns the next place."""
    for key in keys:
        vectors[place] = key / np.sqrt((key.astype("float64") ** 2).sum())
        place = (place + 1) % len(vectors)
    return place


BATCHES = {
    "no_divisor": [3] * 6,
    "exact": [SIZE] * 3,
    "one": [1] * (SIZE + 2),
    "larger": [SIZE + 2, 2 * SIZE, 3 * SIZE + 1],
    "mixed": [5, SIZE + 3, 1, SIZE, 4, 2 * SIZE + 5, 6],
    "empty": [3, 0, 2],
}


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("batches", BATCHES.values(), ids=BATCHES)
def test_oldest_vectors_are_overwritten(batches: list[int], traced: bool) -> None:
    queue = NegativeQueue(SIZE, DIM, seed=1)
    expected, place = np.array(queue.vectors), 0
    enqueue = queue.enqueue
    if traced:  # one graph for every batch size
        enqueue = tf.function(enqueue, input_signature=[tf.TensorSpec((None, DIM))])
    for seed, num_keys in enumerate(batches):
        keys = random_keys(num_keys, seed)
        enqueue(keys)
        place = slow_enqueue(expected, place, keys)
        np.testing.assert_allclose(queue.vectors, expected, rtol=1e-5, atol=1e-6)
        assert int(queue.next_place) == place
    np.testing.assert_allclose(np.linalg.norm(queue.vectors, axis=1), 1, rtol=1e-5)


def test_start_is_random_unit_vectors_from_the_seed() -> None:
    queue, same, other = (np.array(NegativeQueue(2000, 8, seed=s).vectors) for s in (3, 3, 4))
    np.testing.assert_array_equal(queue, same)
    assert np.abs(queue - other).max() > 0.1
    np.testing.assert_allclose(np.linalg.norm(queue, axis=1), 1, rtol=1e-5)
    assert np.linalg.norm(queue.mean(axis=0)) < 0.1  # in all directions alike
    assert len(np.unique(queue, axis=0)) == 2000


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_keys(dtype: str) -> None:
    keras.config.set_dtype_policy(f"mixed_{dtype}")
    queue = NegativeQueue(SIZE, DIM)
    queue.enqueue(tf.cast(random_keys(3) * 50, dtype))
    assert queue.vectors.dtype == "float32"
    np.testing.assert_allclose(np.linalg.norm(queue.vectors, axis=1), 1, rtol=1e-5)


def test_nothing_is_trained_and_no_gradient_flows() -> None:
    queue, keys = NegativeQueue(SIZE, DIM), tf.constant(random_keys(3))
    assert queue.trainable_weights == []
    with tf.GradientTape() as tape:
        tape.watch(keys)
        queue.enqueue(keys)
        total = tf.reduce_sum(queue.vectors.value)
    assert tape.gradient(total, keys) is None


def test_replicas_hold_one_queue(two_replicas: Any) -> None:
    with two_replicas.scope():
        queue = NegativeQueue(SIZE, DIM, seed=1)
    single = NegativeQueue(SIZE, DIM, seed=1)

    @tf.function
    def enqueue(keys: Any) -> Any:
        def on_replica(keys: Any) -> Any:
            context = tf.distribute.get_replica_context()
            queue.enqueue(context.all_gather(keys, axis=0))
            return tf.convert_to_tensor(queue.vectors)

        return two_replicas.run(on_replica, args=(keys,))

    for step, num_keys in enumerate([2, 3, 3, SIZE]):
        parts = [random_keys(num_keys, seed=2 * step + replica) for replica in range(2)]
        keys = two_replicas.experimental_distribute_values_from_function(
            lambda context, parts=parts: tf.constant(parts[context.replica_id_in_sync_group])
        )
        seen = two_replicas.experimental_local_results(enqueue(keys))
        single.enqueue(np.concatenate(parts))
        copies = two_replicas.experimental_local_results(queue.vectors.value)
        for vectors in (*seen, *copies):
            np.testing.assert_allclose(vectors, single.vectors, rtol=1e-5, atol=1e-6)
        places = two_replicas.experimental_local_results(queue.next_place.value)
        assert [int(place) for place in places] == [int(single.next_place)] * 2


def test_keys_of_a_wrong_width_that_tracing_cannot_see() -> None:
    enqueue = tf.function(
        NegativeQueue(SIZE, DIM).enqueue, input_signature=[tf.TensorSpec((None, None))]
    )
    with pytest.raises(tf.errors.InvalidArgumentError):
        enqueue(np.ones((2, 2 * DIM), "float32"))


def test_checkpoint_keeps_vectors_and_place(tmp_path: Path) -> None:
    queue, restored = NegativeQueue(SIZE, DIM, seed=1), NegativeQueue(SIZE, DIM, seed=2)
    queue.enqueue(random_keys(3))
    path = tf.train.Checkpoint(queue=queue).write(str(tmp_path / "queue"))
    tf.train.Checkpoint(queue=restored).read(path).assert_consumed()
    for one in (queue, restored):
        one.enqueue(random_keys(2, seed=1))
    np.testing.assert_array_equal(restored.vectors, queue.vectors)
    assert int(restored.next_place) == 5


def test_round_trip() -> None:
    queue = NegativeQueue(SIZE, DIM, seed=1, name="queue")
    config = keras.saving.serialize_keras_object(queue)
    loaded = keras.saving.deserialize_keras_object(config)
    assert loaded.get_config() == queue.get_config()
    np.testing.assert_array_equal(loaded.vectors, queue.vectors)


@pytest.mark.parametrize("shape", [(3, DIM + 1), (DIM,), (3, 1, DIM)])
def test_keys_of_a_wrong_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"must have shape \(N, 4\). Received: \("):
        NegativeQueue(SIZE, DIM).enqueue(np.ones(shape, "float32"))


@pytest.mark.parametrize(("size", "dim"), [(0, 4), (7, 0), (-1, 4)])
def test_sizes_not_positive(size: int, dim: int) -> None:
    with pytest.raises(ValueError, match=f"must be positive. Received: size={size}, dim={dim}"):
        NegativeQueue(size, dim)
