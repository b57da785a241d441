from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from pcd_tf import students
from pcd_tf.backbones.dinov2 import DINOv2
from pcd_tf.backbones.dinov3 import DINOv3
from pcd_tf.backbones.vit import VisionTransformer
from pcd_tf.layers import MHSA
from pcd_tf.optimizers import LARS, SGD, is_regularised
from pcd_tf.schedules import warmup_cosine

Arrays = list[np.ndarray]

SHAPES: list[tuple[int, ...]] = [(3, 3, 2, 4), (4, 5), (5,), ()]


def random_arrays(seed: int, scale: float = 1.0) -> Arrays:
    rng = np.random.default_rng(seed)
    return [(scale * rng.normal(size=shape)).astype("float32") for shape in SHAPES]


def numpy_lars(
    weights: Arrays,
    gradients: list[Arrays],
    rates: Sequence[float],
    *,
    momentum: float = 0.9,
    decay: float = 1e-2,
    trust: float | None = 0.001,
) -> Arrays:
    """One step for each list of gradients; float64, after method.md. Without trust: plain SGD."""
    weights = [w.astype("float64") for w in weights]
    kept = [np.zeros(w.shape) for w in weights]
    for step, rate in zip(gradients, rates, strict=True):
        for k, g in enumerate(step):
            if weights[k].ndim > 1:
                g = g + decay * weights[k]
                norms = np.linalg.norm(weights[k]), np.linalg.norm(g)
                if trust is not None:
                    g = g * (trust * norms[0] / norms[1] if min(norms) > 0 else 1.0)
            kept[k] = momentum * kept[k] + g
            weights[k] = weights[k] - rate * kept[k]
    return weights


def run(optimizer: Any, weights: Arrays, gradients: list[Arrays]) -> list[Any]:
    variables = [keras.Variable(w) for w in weights]
    apply = tf.function(lambda step: optimizer.apply(step, variables))
    for step in gradients:
        apply([tf.constant(g) for g in step])
    return variables


def assert_same(received: Sequence[Any], expected: Sequence[Any], rtol: float = 1e-5) -> None:
    for one, other in zip(received, expected, strict=True):
        one = keras.ops.convert_to_numpy(one)
        np.testing.assert_allclose(one, other, rtol=rtol, atol=1e-6)


def test_equals_the_numpy_reference_with_a_schedule() -> None:
    weights, gradients = random_arrays(0), [random_arrays(k + 1) for k in range(6)]
    schedule = warmup_cosine(8.0, 2, 7)
    rates = [float(schedule(step)) for step in range(6)]
    expected = numpy_lars(weights, gradients, rates)
    received = run(LARS(schedule, weight_decay=1e-2), weights, gradients)
    assert_same(received, expected)
    assert max(np.abs(e - w).max() for e, w in zip(expected, weights, strict=True)) > 1


def test_sgd_equals_the_numpy_reference_with_a_schedule() -> None:
    weights, gradients = random_arrays(0), [random_arrays(k + 1) for k in range(6)]
    schedule = warmup_cosine(0.5, 2, 7)
    rates = [float(schedule(step)) for step in range(6)]
    expected = numpy_lars(weights, gradients, rates, decay=0.1, trust=None)
    assert_same(run(SGD(schedule, weight_decay=0.1), weights, gradients), expected)


def test_decay_of_sgd_is_summed_up_by_the_momentum() -> None:
    # Without a gradient and at a constant rate: 1 - lr * wd * (1 + (1 + 0.9) + ...), to first order
    # in the rate; Keras's own SGD comes to 1 - lr * wd * 60.
    zeros = [[np.zeros((2, 2), "float32")]] * 60
    (w,) = run(SGD(1e-3, weight_decay=1e-2), [np.ones((2, 2), "float32")], zeros)
    expected = 1 - 1e-5 * sum((1 - 0.9**k) / 0.1 for k in range(1, 61))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(w), expected, rtol=1e-5)


def test_biases_of_attention_move_as_flat_ones_do() -> None:
    attention = keras.layers.MultiHeadAttention(num_heads=3, key_dim=64)
    attention.build((None, 4, 192), (None, 4, 192))
    (query,) = (v for v in attention.trainable_variables if "query/bias" in v.path)
    assert query.shape == (3, 64)
    query.assign(keras.random.normal(query.shape, seed=1))
    flat = keras.Variable(keras.ops.reshape(query, (-1,)), name="bias")
    optimizer = LARS(0.3, weight_decay=1e-2)
    optimizer.build([query, flat])
    gradient = tf.random.stateless_normal((3, 64), (0, 1))
    step = tf.function(optimizer.apply)
    for _ in range(20):
        step([gradient, tf.reshape(gradient, (-1,))])
    np.testing.assert_array_equal(keras.ops.reshape(query, (-1,)), flat)
    assert np.linalg.norm(flat) > 100


def excluded(network: Any) -> set[str]:
    """Names of the trainable variables without decay, of two dimensions or more."""
    variables = network.trainable_variables
    for variable in variables:
        assert is_regularised(variable) or "kernel" not in variable.name, variable.path
        assert not is_regularised(variable) or "kernel" in variable.name, variable.path
    left_out = [v for v in variables if not is_regularised(v) and len(v.shape) > 1]
    return {v.name for v in left_out}


VIT = {"num_layers": 1, "num_heads": 2, "hidden_dim": 32}
DINO = {**VIT, "patch_size": 16, "intermediate_dim": 64, "num_register_tokens": 2}
NETWORKS: dict[str, tuple[Callable[[], Any], set[str]]] = {
    "mhsa": (lambda: built(MHSA(), (None, None, None, 128)), set()),
    "vit": (
        lambda: VisionTransformer(16, 1, 2, 32, 64, image_size=32),
        {"bias", "class_token", "positions"},
    ),
    "moco_v3_vit": (  # its positions are fixed
        lambda: VisionTransformer(16, 1, 2, 32, 64, image_size=32, positions="sine_cosine"),
        {"bias", "class_token"},
    ),
    "dinov2": (
        lambda: DINOv2({**DINO, "position_embedding_shape": (32, 32)}),
        {"bias", "class_token", "positions", "registers"},
    ),
    "dinov3": (lambda: DINOv3(DINO), {"class_token", "registers"}),
    "keras_hub_vit": (
        lambda: keras_hub.models.ViTBackbone(
            image_shape=(32, 32, 3), patch_size=16, mlp_dim=64, **VIT
        ),
        {"bias", "class_token", "embeddings"},
    ),
    "keras_hub_deit": (
        lambda: keras_hub.models.DeiTBackbone(
            image_shape=(32, 32, 3), patch_size=16, intermediate_dim=64, **VIT
        ),
        {"bias", "class_token", "distillation_token", "position_embedding"},
    ),
    "normalisation_of_maps": (
        lambda: built(keras.layers.LayerNormalization(axis=(1, 2, 3)), (None, 4, 4, 2)),
        {"beta", "gamma"},
    ),
}


def built(layer: Any, shape: tuple[int | None, ...]) -> Any:
    layer.build(shape)
    return layer


@pytest.mark.parametrize("name", NETWORKS)
def test_kernels_alone_are_regularised(name: str) -> None:
    make, expected = NETWORKS[name]
    assert excluded(make()) == expected


@pytest.mark.parametrize("name", [name for name in students.names() if name != "custom"])
def test_kernels_alone_are_regularised_in_every_student(name: str) -> None:
    expected = {"bias", "class_token", "positions"} if name == "vit_tiny" else set()
    assert excluded(students.build(name)) == expected


def test_step_of_a_matrix_has_the_trusted_length_and_ignores_the_gradients_scale() -> None:
    for scale in (1e-3, 1.0, 1e6):
        optimizer = LARS(2.0, weight_decay=0.0)
        (w,) = run(optimizer, [np.full((2, 2), 3.0, "float32")], [[np.diag([1.0, 1.0]) * scale]])
        length = np.linalg.norm(keras.ops.convert_to_numpy(w) - 3.0)
        assert length == pytest.approx(2.0 * 0.001 * 6.0, rel=1e-3)


def test_vectors_and_scalars_have_neither_decay_nor_trust_ratio() -> None:
    weights = [np.full(3, 2.0, "float32"), np.array(2.0, "float32")]
    gradients = [np.full(3, 0.5, "float32"), np.array(0.5, "float32")]
    received = run(LARS(1.0, weight_decay=0.3), weights, [gradients])
    assert_same(received, [np.full(3, 1.5), 1.5])


def test_ratio_is_one_where_a_norm_is_zero() -> None:
    zeros, ones = np.zeros((2, 2), "float32"), np.ones((2, 2), "float32")
    received = run(LARS(0.5, weight_decay=0.0), [zeros, ones], [[ones, zeros]])
    assert_same(received, [zeros - 0.5, ones])


def test_decay_counts_in_the_gradients_norm() -> None:
    # Without a gradient the decay alone sets the direction, and the trust ratio its length.
    ones, zeros = np.ones((2, 2), "float32"), np.zeros((2, 2), "float32")
    for decay in (1e-6, 1e-2):
        (w,) = run(LARS(1.0, weight_decay=decay), [ones], [[zeros]])
        np.testing.assert_allclose(keras.ops.convert_to_numpy(w), 1 - 0.001, rtol=1e-6)


@pytest.mark.torch
def test_sgd_equals_torch() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed (requirements-dev.txt)")
    weights, gradients = random_arrays(5), [random_arrays(k + 6) for k in range(8)]
    schedule = warmup_cosine(0.5, 3, 9)
    parameters = [torch.nn.Parameter(torch.tensor(w)) for w in weights]
    kernels, others = ([p for p in parameters if (p.dim() > 1) == wanted] for wanted in (1, 0))
    groups = [{"params": kernels, "weight_decay": 1e-2}, {"params": others}]
    optimizer = torch.optim.SGD(groups, lr=0.0, momentum=0.9)
    for k, arrays in enumerate(gradients):
        for parameter, g in zip(parameters, arrays, strict=True):
            parameter.grad = torch.tensor(g)
        for group in optimizer.param_groups:
            group["lr"] = float(schedule(k))
        optimizer.step()
    received = run(SGD(schedule, weight_decay=1e-2), weights, gradients)
    assert_same(received, [p.detach().numpy() for p in parameters])


@pytest.mark.torch
def test_equals_moco_v3_in_torch() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed (requirements-dev.txt)")

    def step(parameters: list[Any], momenta: list[Any], rate: float) -> None:
        for w, mu in zip(parameters, momenta, strict=True):
            update = w.grad.clone()
            if w.dim() > 1:
                update += 1e-6 * w
                w_norm, update_norm = w.norm(), update.norm()
                if w_norm > 0 and update_norm > 0:
                    update *= 0.001 * w_norm / update_norm
            mu.mul_(0.9).add_(update)
            w.sub_(rate * mu)

    weights, gradients = random_arrays(5), [random_arrays(k + 6) for k in range(8)]
    weights[1][:] = 0.0
    schedule = warmup_cosine(4.8, 3, 9)
    parameters = [torch.nn.Parameter(torch.tensor(w)) for w in weights]
    momenta = [torch.zeros_like(p) for p in parameters]
    for k, arrays in enumerate(gradients):
        for parameter, g in zip(parameters, arrays, strict=True):
            parameter.grad = torch.tensor(g)
        with torch.no_grad():
            step(parameters, momenta, float(schedule(k)))
    received = run(LARS(schedule, weight_decay=1e-6), weights, gradients)
    assert_same(received, [p.detach().numpy() for p in parameters])


def test_loss_scaling_changes_nothing_and_skips_what_is_not_finite() -> None:
    weights, gradients = random_arrays(0), [random_arrays(1), random_arrays(2)]
    expected = numpy_lars(weights, gradients, [0.5, 0.5])
    optimizer = keras.optimizers.LossScaleOptimizer(LARS(0.5, weight_decay=1e-2))
    overflow = [np.full(shape, np.inf, "float32") for shape in SHAPES]
    scaled = [[g * 2.0**15 for g in gradients[0]], overflow, [g * 2.0**14 for g in gradients[1]]]
    assert_same(run(optimizer, weights, scaled), expected)


def test_trains_under_mixed_float16() -> None:
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, dtype="mixed_float16")])
        model.compile(LARS(0.05, trust_coefficient=0.1), "mse")
        assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
        x, y = np.random.default_rng(0).normal(size=(2, 32, 4)).astype("float32")
        history = model.fit(x, y[:, :3], epochs=8, batch_size=32, verbose=0).history["loss"]
    finally:
        keras.config.set_dtype_policy(policy)
    assert history[-1] < history[0]
    assert all(v.dtype == "float32" for v in model.optimizer.inner_optimizer.momentums)


@pytest.mark.parametrize("wrap", [False, True], ids=["plain", "loss_scale"])
def test_two_replicas_take_the_step_of_one(wrap: bool, two_replicas) -> None:
    strategy = two_replicas
    weights, steps = random_arrays(0), [random_arrays(k + 1) for k in range(3)]
    scale = 2.0**15 if wrap else 1.0
    with strategy.scope():
        variables = [keras.Variable(w) for w in weights]
        optimizer = LARS(warmup_cosine(4.0, 1, 5), weight_decay=1e-2)
        if wrap:
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        optimizer.build(variables)

    @tf.function
    def update(gradients: Any) -> None:
        def in_replica() -> None:
            # Replica 0 holds a quarter of the gradient, replica 1 the rest: the norms of the parts
            # differ from the norm of the sum, which is the one that counts.
            index = tf.distribute.get_replica_context().replica_id_in_sync_group
            share = tf.where(tf.equal(index, 0), 0.25, 0.75) * scale
            optimizer.apply([share * g for g in gradients], variables)

        strategy.run(in_replica)

    for step in steps:
        update([tf.constant(g) for g in step])
    expected = numpy_lars(weights, steps, [0.0, 4.0, 4 * (1 + np.cos(np.pi / 4)) / 2])
    for variable, value in zip(variables, expected, strict=True):
        for replica in strategy.experimental_local_results(variable.value):
            np.testing.assert_allclose(replica, value, rtol=1e-5, atol=1e-6)


def test_sgd_config_round_trip() -> None:
    config = keras.optimizers.serialize(SGD(0.1, momentum=0.8, weight_decay=3e-4))
    again = keras.optimizers.deserialize(config)
    assert isinstance(again, SGD)
    assert (again.momentum, again.kernel_decay) == (0.8, 3e-4)


def test_config_round_trip() -> None:
    optimizer = LARS(
        warmup_cosine(4.0, 1, 5),
        momentum=0.8,
        weight_decay=3e-4,
        trust_coefficient=0.02,
        clipnorm=1.0,
    )
    serialized = keras.optimizers.serialize(optimizer)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert isinstance(again, LARS)
    assert keras.optimizers.serialize(again) == serialized
    assert (again.momentum, again.kernel_decay, again.trust_coefficient) == (0.8, 3e-4, 0.02)


def small_model() -> keras.Model:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.compile(LARS(warmup_cosine(5.0, 2, 10)), "mse")
    return model


def train(model: keras.Model, seed: int) -> None:
    x, y = np.random.default_rng(seed).normal(size=(2, 24, 4)).astype("float32")
    model.fit(x, y[:, :3], batch_size=8, shuffle=False, verbose=0)


def restored_from_checkpoint(model: keras.Model, path: Path) -> keras.Model:
    written = tf.train.Checkpoint(model=model, optimizer=model.optimizer).write(str(path / "c"))
    again = small_model()
    again.optimizer.build(again.trainable_variables)
    reader = tf.train.Checkpoint(model=again, optimizer=again.optimizer)
    reader.read(written).assert_consumed()
    return again


def restored_from_keras_file(model: keras.Model, path: Path) -> keras.Model:
    model.save(path / "model.keras")
    return keras.models.load_model(path / "model.keras")


@pytest.mark.parametrize("restored", [restored_from_checkpoint, restored_from_keras_file])
def test_a_restored_run_continues_as_if_never_stopped(
    restored: Callable[[keras.Model, Path], keras.Model], tmp_path: Path
) -> None:
    model = small_model()
    train(model, seed=0)
    again = restored(model, tmp_path)
    assert int(again.optimizer.iterations) == 3
    for one, other in zip(again.optimizer.momentums, model.optimizer.momentums, strict=True):
        assert np.abs(one).max() > 0
        np.testing.assert_array_equal(one, other)
    train(model, seed=1)
    train(again, seed=1)
    for one, other in zip(again.weights, model.weights, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("wrap", [False, True], ids=["plain", "loss_scale"])
@pytest.mark.parametrize("shapes", [[(2, 2), (3,)], [()]], ids=["kernel_first", "scalars"])
def test_a_checkpoint_of_kerass_sgd_does_not_fit(shapes: Any, wrap: bool, tmp_path: Path) -> None:
    """Its momentum holds steps."""

    def checkpoint(optimizer: Any) -> tf.train.Checkpoint:
        if wrap:
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        optimizer.build([keras.Variable(np.ones(shape, "float32")) for shape in shapes])
        return tf.train.Checkpoint(optimizer=optimizer)

    ours = checkpoint(SGD(0.1)).write(str(tmp_path / "ours"))
    theirs = checkpoint(keras.optimizers.SGD(0.1, momentum=0.9)).write(str(tmp_path / "theirs"))
    checkpoint(SGD(0.1)).read(ours).assert_existing_objects_matched().assert_consumed()
    with pytest.raises((AssertionError, ValueError)):  # "does not fit", says `Checkpoints`
        checkpoint(SGD(0.1)).read(theirs).assert_existing_objects_matched().assert_consumed()


def test_lars_has_no_variables_but_those_of_earlier_checkpoints() -> None:
    model = small_model()
    model.optimizer.build(model.trainable_variables)
    count, *momentums = model.optimizer.variables
    assert count is model.optimizer.iterations
    assert momentums == list(model.optimizer.momentums)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"momentum": 1.0}, r"`momentum`.*\[0, 1\).*Received: momentum=1.0"),
        ({"weight_decay": -1e-5}, r"`weight_decay`.*Received: weight_decay=-1e-05"),
        ({"trust_coefficient": 0.0}, r"`trust_coefficient`.*Received: trust_coefficient=0.0"),
    ],
)
def test_values_out_of_range_are_refused(wrong: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LARS(1.0, **wrong)
