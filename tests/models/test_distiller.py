"""The Distiller: what it learns from, what it leaves alone, and that replicas change nothing."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from pcd_tf.models import Distiller
from pcd_tf.teachers import Teacher
from tests import toys

PAIRINGS = ("same", "aligned", "index")
TEMPERATURE = 0.2


def build(pairing="same", *, rate=0.1, stride=toys.STRIDE, **kwargs):
    """A Distiller of toys, compiled with SGD; the same weights at each call."""
    keras.utils.set_random_seed(3)
    teacher = toys.teacher()
    student = toys.backbone(16, stride=stride)
    model = Distiller(
        teacher,
        student,
        queue_size=toys.QUEUE_SIZE,
        temperature=TEMPERATURE,
        pairing=pairing,
        seed=1,
        **kwargs,
    )
    model.compile(optimizer=keras.optimizers.SGD(rate, momentum=0.9), jit_compile=False)
    return model


def fit(model, *, batch_size=8, num_steps=5):
    """Trains by Keras's own `fit`; returns the logs of each step."""
    history = []
    keep = keras.callbacks.LambdaCallback(on_train_batch_end=lambda _, logs: history.append(logs))
    batches = toys.batches(batch_size)
    model.fit(batches, steps_per_epoch=num_steps, shuffle=False, verbose=0, callbacks=[keep])
    return history


def arrays(variables):
    return [np.array(variable) for variable in variables]


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def pixel_losses(student, teacher, negatives):
    """The loss by its definition: (..., D), (..., D), (K, D) -> (...)."""
    student, teacher, negatives = (unit(x.astype("float64")) for x in (student, teacher, negatives))
    positive = np.exp((student * teacher).sum(-1) / TEMPERATURE)
    others = np.exp(student @ negatives.T / TEMPERATURE).sum(-1)
    return -np.log(positive / (positive + others))


def maps_of(model, batch):
    """Student's and teacher's maps of a batch in training, (B, 2, H, W, D) each."""
    images = model.views_to_images({name: tf.constant(x) for name, x in batch.items()})
    maps = [np.array(x) for x in (model(images, training=True), model.teacher(images))]
    return [x.reshape((-1, 2, *x.shape[1:])) for x in maps]


def step(model, batch):
    logs = model.train_step({name: tf.constant(x) for name, x in batch.items()})
    return {name: float(value) for name, value in logs.items()}


# What the student is


def test_the_students_heads_are_as_wide_and_as_deep_as_the_teachers():
    for num_hidden in (1, 2):
        hidden = [layer for _ in range(num_hidden) for layer in (layers.Dense(12), layers.ReLU())]
        head = keras.Sequential([keras.Input((8,)), *hidden, layers.Dense(toys.DIM)])
        model = Distiller(Teacher("toy", toys.backbone(8), head), toys.backbone(16))
        for made in (model.projection, model.prediction):
            dense = [layer for layer in made.layers if isinstance(layer, layers.Dense)]
            assert [layer.units for layer in dense] == [*[12] * num_hidden, toys.DIM]


# What the loss is


@pytest.mark.parametrize(("pairing", "partner"), [("same", slice(None)), ("index", [1, 0])])
def test_loss_and_metrics_equal_a_numpy_computation(pairing, partner):
    model, batch = build(pairing), toys.batch(6)
    negatives = np.array(model.queue.vectors)
    student, teacher = maps_of(model, batch)
    teacher = teacher[:, partner]
    logs = step(model, batch)
    assert logs["loss"] == pytest.approx(pixel_losses(student, teacher, negatives).mean(), rel=1e-5)
    cosines = (unit(student) * unit(teacher)).sum(-1)
    best = (unit(student) @ unit(negatives).T).max(-1)
    assert logs["positive_cosine"] == pytest.approx(cosines.mean(), abs=1e-5)
    assert logs["retrieval_top1"] == pytest.approx((cosines > best).mean(), abs=1e-6)
    spread = np.sqrt(1 - np.square(unit(student).mean((0, 1, 2, 3))).sum())
    assert logs["feature_spread"] == pytest.approx(spread, abs=1e-5)


def read(feature_map, y, x):
    """Bilinear value at (y, x) in 0..1 of a map (H, W, D)."""
    height, width = feature_map.shape[:2]
    y, x = np.clip(y * height - 0.5, 0, height - 1), np.clip(x * width - 0.5, 0, width - 1)
    top, left = min(int(y), height - 2), min(int(x), width - 2)
    v, u = y - top, x - left
    rows = (1 - v) * feature_map[top] + v * feature_map[top + 1]
    return (1 - u) * rows[left] + u * rows[left + 1]


def aligned_by_loops(feature_map, box, flip, overlap):
    """A map (H, W, D) read at the centres of the overlap's cells."""
    y0, x0, y1, x1 = overlap
    height, width = feature_map.shape[:2]
    values = np.empty_like(feature_map)
    for i in range(height):
        for j in range(width):
            y = (y0 + (i + 0.5) / height * (y1 - y0) - box[0]) / (box[2] - box[0])
            x = (x0 + (j + 0.5) / width * (x1 - x0) - box[1]) / (box[3] - box[1])
            values[i, j] = read(feature_map, y, 1 - x if flip else x)
    return values


def test_aligned_loss_is_that_of_the_overlap_and_pairs_without_one_weigh_nothing():
    model, batch = build("aligned"), toys.batch(6)
    batch["boxes"][1] = [[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]]
    batch["boxes"][4] = [[0.0, 0.0, 0.5, 0.5], [0.45, 0.0, 1.0, 0.5]]  # less than a pixel's height
    student, teacher = maps_of(model, batch)
    negatives = np.array(model.queue.vectors)
    losses = []
    for i in (0, 2, 3, 5):
        first, second = batch["boxes"][i]
        overlap = (*np.maximum(first, second)[:2], *np.minimum(first, second)[2:])
        s, t = (
            [
                aligned_by_loops(maps[i, view], batch["boxes"][i, view], flips[view], overlap)
                for view, flips in ((0, batch["flips"][i]), (1, batch["flips"][i]))
            ]
            for maps in (student, teacher)
        )
        losses.append(pixel_losses(np.stack(s), np.stack(t[::-1]), negatives))
    assert step(model, batch)["loss"] == pytest.approx(np.mean(losses), rel=1e-5)


def test_aligned_without_any_overlap_is_a_loss_of_zero_that_changes_no_kernel():
    model, batch = build("aligned"), toys.batch(4)
    batch["boxes"][:] = [[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]]
    before = arrays(model.trainable_variables)
    logs = step(model, batch)
    assert logs["loss"] == 0.0
    assert logs["retrieval_top1"] == 0.0
    for old, new in zip(before, arrays(model.trainable_variables), strict=True):
        np.testing.assert_array_equal(old, new)


def test_same_ignores_where_the_crops_lie():
    batch = toys.batch(4)
    elsewhere = {**batch, "boxes": batch["boxes"][::-1], "flips": ~batch["flips"]}
    assert step(build("same"), batch) == step(build("same"), elsewhere)


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        (
            "image_contrastive",
            lambda s, t, n: pixel_losses(s.mean((2, 3)), t.mean((2, 3)), n),
        ),
        (
            "feature_mse",
            lambda s, t, n: np.square(
                s - (t - t.mean(-1, keepdims=True)) / t.std(-1, keepdims=True)
            ),
        ),
    ],
)
def test_another_objective_changes_the_loss_and_not_the_metrics(objective, expected):
    model, batch = build(objective=objective), toys.batch(6)
    negatives = np.array(model.queue.vectors)
    student, teacher = maps_of(model, batch)
    logs, usual = step(model, batch), step(build(), batch)
    assert logs["loss"] == pytest.approx(expected(student, teacher, negatives).mean(), rel=1e-4)
    assert {**logs, "loss": 0} == pytest.approx({**usual, "loss": 0}, rel=1e-5, abs=1e-6)


def test_pixels_of_the_teachers_head_can_decide_for_themselves():
    model, batch = build(), toys.batch(4)
    model.teacher = model.teacher.with_gates("pixel")
    student, teacher = maps_of(model, batch)
    images = model.views_to_images({name: tf.constant(x) for name, x in batch.items()})
    pixels = np.array(model.teacher.backbone(images))
    plain = np.array(model.teacher.head(pixels.reshape(-1, 8), training=False))
    np.testing.assert_allclose(teacher.reshape(plain.shape), plain, rtol=1e-4, atol=1e-5)
    negatives = np.array(model.queue.vectors)
    expected = pixel_losses(student, teacher, negatives).mean()
    assert step(model, batch)["loss"] == pytest.approx(expected, rel=1e-5)
    assert expected != pytest.approx(step(build(), batch)["loss"], rel=1e-3)


# The queue


def test_keys_are_the_first_views_means_and_enter_after_the_loss():
    model, batch = build(), toys.batch(6)
    old = np.array(model.queue.vectors)
    student, teacher = maps_of(model, batch)
    loss = step(model, batch)["loss"]
    keys = unit(teacher[:, 0].mean(axis=(1, 2)))
    new = np.array(model.queue.vectors)
    np.testing.assert_allclose(new[:6], keys, atol=1e-6)
    np.testing.assert_array_equal(new[6:], old[6:])
    assert int(model.queue.next_place) == 6
    assert loss == pytest.approx(pixel_losses(student, teacher, old).mean(), rel=1e-5)
    assert loss != pytest.approx(pixel_losses(student, teacher, new).mean(), rel=1e-4)


def test_the_seed_makes_the_queue():
    np.testing.assert_array_equal(build().queue.vectors, build().queue.vectors)


# What is trained


def test_the_teacher_stays_bitwise_the_same_and_is_no_part_of_the_model(tmp_path):
    model = build()
    before = arrays(model.teacher.weights)
    fit(model)
    for old, new in zip(before, arrays(model.teacher.weights), strict=True):
        np.testing.assert_array_equal(old, new)

    teachers = {id(weight) for weight in model.teacher.weights}
    for variables in (model.variables, model.trainable_variables, model.weights):
        assert variables
        assert teachers.isdisjoint(map(id, variables))
    assert teachers.isdisjoint(map(id, model.optimizer.variables))
    assert not model.teacher.backbone.trainable

    path = tf.train.Checkpoint(model=model, optimizer=model.optimizer).save(str(tmp_path / "x"))
    saved = tf.train.list_variables(path)
    assert not [name for name, _ in saved if "teacher" in name]
    size = sum(int(np.prod(shape)) for name, shape in saved if "OBJECT_GRAPH" not in name)
    expected = [*model.variables, *model.optimizer.variables]
    once = {id(variable): int(np.prod(variable.shape)) for variable in expected}
    assert size == sum(once.values()) + 1  # and the checkpoint's own counter


def test_the_teacher_runs_in_inference_mode():
    model, batch = build(), toys.batch(4)
    one = {name: x[:1] for name, x in batch.items()}
    _, of_all = maps_of(model, batch)
    _, alone = maps_of(model, one)
    np.testing.assert_allclose(of_all[:1], alone, rtol=1e-4, atol=1e-5)


def test_every_part_of_the_student_is_trained():
    model = build()
    before = arrays(model.trainable_variables)
    step(model, toys.batch(6))
    step(model, toys.batch(6, seed=1))  # the attention's inner weights move after its last layer
    for variable, old in zip(model.trainable_variables, before, strict=True):
        if "qkv" not in variable.path and "mhsa/norm" not in variable.path:
            assert np.abs(np.array(variable) - old).max() > 0, variable.path
    moved = [v for v in model.backbone.non_trainable_variables if v.name == "moving_mean"]
    assert all(np.abs(np.array(v)).max() > 0 for v in moved)


def test_the_loss_falls():
    logs = fit(build(), num_steps=30)
    assert np.mean([x["loss"] for x in logs[-5:]]) < np.mean([x["loss"] for x in logs[:5]]) - 0.2


def test_mhsa_is_plugged_in_without_effect_at_the_start_and_can_be_left_out():
    batch = toys.batch(4)
    with_mhsa, without = build(), build(mhsa=False)
    assert isinstance(without.mhsa, keras.layers.Identity)
    without.set_weights([np.array(w) for w in with_mhsa.weights if "mhsa" not in w.path])
    assert step(with_mhsa, batch)["loss"] == pytest.approx(step(without, batch)["loss"], rel=1e-5)


# Replicas


def replica_values(strategy, variable):
    return [np.array(x) for x in strategy.experimental_local_results(variable.value)]


@pytest.mark.parametrize("pairing", PAIRINGS)
def test_two_replicas_train_as_one_device(pairing, two_replicas):
    alone = build(pairing)
    start = arrays(alone.weights)
    logs = fit(alone)
    with two_replicas.scope():
        mirrored = build(pairing)
    for one, two in zip(start, arrays(mirrored.weights), strict=True):
        np.testing.assert_array_equal(one, two)
    mirrored_logs = fit(mirrored)

    assert len(logs) == len(mirrored_logs) == 5
    for one, two in zip(logs, mirrored_logs, strict=True):
        for name in ("loss", "retrieval_top1", "positive_cosine"):
            assert two[name] == pytest.approx(one[name], rel=1e-4, abs=1e-6)
    for one, two, old in zip(alone.weights, mirrored.weights, start, strict=True):
        close = 1e-4 * np.linalg.norm(one) + 1e-6  # the attention's last bias is 0 but for rounding
        for values in replica_values(two_replicas, two):
            assert np.linalg.norm(values - np.array(one)) <= close, one.path
        if one.name == "kernel" and "qkv" not in one.path:
            assert np.linalg.norm(old - np.array(one)) > 10 * close, one.path  # it did train
    first, second = replica_values(two_replicas, mirrored.queue.vectors)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, alone.queue.vectors, atol=1e-5)
    assert replica_values(two_replicas, mirrored.queue.next_place) == [5 * 8 % toys.QUEUE_SIZE] * 2


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["image_contrastive", "feature_mse"])
def test_two_replicas_train_as_one_device_for_any_objective(objective, two_replicas):
    settings = {"pairing": "aligned", "objective": objective}
    alone = build(**settings)
    logs = fit(alone, num_steps=3)
    with two_replicas.scope():
        mirrored = build(**settings)
    for one, two in zip(logs, fit(mirrored, num_steps=3), strict=True):
        for name in ("loss", "retrieval_top1", "positive_cosine"):
            assert two[name] == pytest.approx(one[name], rel=1e-4, abs=1e-6)
    for one, two in zip(alone.weights, mirrored.weights, strict=True):
        assert np.linalg.norm(np.array(two) - np.array(one)) <= 1e-4 * np.linalg.norm(one) + 1e-6


def test_batch_norm_is_synchronised_only_where_there_are_replicas(two_replicas):
    def norms(model):
        layers = model._flatten_layers()
        found = [x for x in layers if isinstance(x, keras.layers.BatchNormalization)]
        assert len(found) == 4  # two of the backbone, one of each head
        return {layer.synchronized for layer in found}

    assert norms(build()) == {False}
    with two_replicas.scope():
        assert norms(build()) == {True}


# Precision


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_a_step_in_mixed_precision_is_near_float32(policy):
    batch = toys.batch(6)
    expected = step(build(), batch)["loss"]
    keras.config.set_dtype_policy(policy)
    model = build()
    assert model.backbone.compute_dtype == policy.removeprefix("mixed_")
    assert step(model, batch)["loss"] == pytest.approx(expected, rel=0.03)
    assert {variable.dtype for variable in model.trainable_variables} == {"float32"}
    assert all(np.isfinite(x).all() for x in arrays(model.weights))
    assert model.queue.vectors.dtype == "float32"


# Misuse


def test_an_unknown_pairing_is_refused():
    with pytest.raises(ValueError, match="one of same, aligned, index. Received: pairing='near'"):
        build("near")


def test_an_unknown_map_size_is_refused():
    with pytest.raises(ValueError, match="of student, teacher. Received: map_size='larger'"):
        build(map_size="larger")


@pytest.mark.parametrize("pairing", PAIRINGS)
def test_a_step_compiled_by_xla_is_the_step(pairing):
    """One GPU compiles the step; here the CPU does, under the strategy of one device."""
    batch = {name: tf.constant(value) for name, value in toys.batch(4).items()}
    logs, weights = {}, {}
    for compiled in (False, True):
        strategy = tf.distribute.OneDeviceStrategy("CPU:0")
        with strategy.scope():
            model = build(pairing)
            model.optimizer.build(model.trainable_variables)
        step = tf.function(functools.partial(strategy.run, model.train_step), jit_compile=compiled)
        logs[compiled] = {name: float(value) for name, value in step(args=(batch,)).items()}
        weights[compiled] = arrays(model.weights)
    assert logs[True] == pytest.approx(logs[False], rel=1e-4, abs=1e-5)
    for value, expected in zip(weights[True], weights[False], strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-5)


# Maps of two sizes: the teacher's is 4 x 4, the student's 2 x 2, 3 x 3 or 8 x 8

TWO_SIZES = [(16, "student"), (16, "teacher"), (4, "student"), (4, "teacher")]


def to_size(maps, size):
    """Maps (B, 2, H, W, D) to size x size, H and W a whole multiple of it or a part."""
    height = maps.shape[2]
    if size < height:
        part = height // size
        return maps.reshape((-1, 2, size, part, size, part, maps.shape[-1])).mean((3, 5))
    flat = maps.reshape((-1, *maps.shape[2:]))
    larger = keras.ops.image.resize(flat, (size, size), interpolation="bilinear")
    return np.array(larger).reshape((-1, 2, size, size, maps.shape[-1]))


@pytest.mark.parametrize(("stride", "map_size"), TWO_SIZES)
@pytest.mark.parametrize(("pairing", "partner"), [("same", slice(None)), ("index", [1, 0])])
def test_one_map_is_brought_to_the_size_of_the_other(pairing, partner, stride, map_size):
    model, batch = build(pairing, stride=stride, map_size=map_size), toys.batch(4)
    negatives = np.array(model.queue.vectors)
    student, teacher = maps_of(model, batch)
    assert student.shape[2:4] == (32 // stride, 32 // stride)
    size = {"student": 32 // stride, "teacher": 4}[map_size]
    losses = pixel_losses(to_size(student, size), to_size(teacher, size)[:, partner], negatives)
    logs = step(model, batch)
    assert logs["loss"] == pytest.approx(losses.mean(), rel=1e-5)


def test_aligned_reads_the_resized_maps():
    model, batch = build("aligned", stride=16, map_size="teacher"), toys.batch(1)
    batch["boxes"][:] = [[0.0, 0.0, 1.0, 0.9], [0.0, 0.1, 1.0, 1.0]]
    student, teacher = maps_of(model, batch)
    student = to_size(student, 4)
    overlap = (0.0, 0.1, 1.0, 0.9)
    s, t = (
        [
            aligned_by_loops(
                maps[0, view], batch["boxes"][0, view], batch["flips"][0, view], overlap
            )
            for view in (0, 1)
        ]
        for maps in (student, teacher)
    )
    expected = pixel_losses(np.stack(s), np.stack(t[::-1]), np.array(model.queue.vectors))
    assert step(model, batch)["loss"] == pytest.approx(expected.mean(), rel=1e-5)


@pytest.mark.parametrize("map_size", ["student", "teacher"])
def test_keys_are_means_of_the_teachers_own_map(map_size):
    model, batch = build(map_size=map_size), toys.batch(4)
    model.teacher.backbone = toys.backbone(8, stride=12)
    student, teacher = maps_of(model, batch)
    assert (student.shape[2], teacher.shape[2]) == (4, 3)  # 4 / 3 enlarged changes the mean
    step(model, batch)
    keys = unit(teacher[:, 0].mean(axis=(1, 2)))
    np.testing.assert_allclose(np.array(model.queue.vectors)[:4], keys, atol=1e-6)


@pytest.mark.parametrize("map_size", ["student", "teacher"])
def test_a_student_of_another_stride_learns(map_size):
    logs = fit(build(stride=12, map_size=map_size), num_steps=20)
    assert np.mean([x["loss"] for x in logs[-5:]]) < np.mean([x["loss"] for x in logs[:5]]) - 0.2


def test_two_replicas_with_two_sizes_train_as_one_device(two_replicas):
    settings = {"pairing": "aligned", "stride": 12, "map_size": "teacher"}
    alone = build(**settings)
    logs = fit(alone, num_steps=3)
    with two_replicas.scope():
        mirrored = build(**settings)
    mirrored_logs = fit(mirrored, num_steps=3)
    for one, two in zip(logs, mirrored_logs, strict=True):
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-4)
    for one, two in zip(alone.weights, mirrored.weights, strict=True):
        assert np.linalg.norm(np.array(two) - np.array(one)) <= 1e-4 * np.linalg.norm(one) + 1e-6


def test_two_sizes_in_mixed_precision_and_under_xla():
    batch = toys.batch(4)
    expected = step(build(stride=12), batch)["loss"]
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = build(stride=12)
    model.optimizer.build(model.trainable_variables)
    compiled = tf.function(model.train_step, jit_compile=True)
    logs = compiled({name: tf.constant(value) for name, value in batch.items()})
    assert float(logs["loss"]) == pytest.approx(expected, rel=0.03)


def test_map_sizes_are_known_before_training():
    model = build(stride=12)
    assert model.map_sizes(32) == {"student": (3, 3), "teacher": (4, 4)}
    assert model.map_sizes(64) == {"student": (6, 6), "teacher": (8, 8)}


@pytest.mark.parametrize(
    ("image_size", "remedy"), [(96, "fit: 64, 160"), (32, "fit: 64"), (100, "fit: 64, 160")]
)
def test_an_image_size_that_does_not_fit_is_refused_with_those_that_do(image_size, remedy):
    model = build()
    model.teacher.backbone = OnlySizes(model.teacher.backbone, {64, 160})
    with pytest.raises(
        ValueError,
        match=rf"Received: {image_size} pixels, which the teacher refuses \(Expected 64 or 160. "
        rf"Received: {image_size}\). Sizes that {remedy}.$",
    ):
        model.map_sizes(image_size)
    model.teacher.backbone.sizes = set()
    with pytest.raises(ValueError, match="No other size nearby fits.$"):
        model.map_sizes(image_size)


class OnlySizes(keras.layers.Layer):
    """A network for images of some sizes."""

    def __init__(self, network, sizes):
        super().__init__()
        self.network, self.sizes = network, sizes

    def call(self, images):
        if images.shape[1] not in self.sizes:
            raise ValueError(f"Expected 64 or 160. Received: {images.shape[1]}.")
        return self.network(images)


# What a user may ask of Keras


def finite(num_batches, size=8):
    """A plain dataset that ends, its last batch smaller."""
    examples = [toys.batch(size, seed) for seed in range(num_batches)]
    examples[-1] = {name: array[: size // 2] for name, array in examples[-1].items()}
    whole = {name: np.concatenate([x[name] for x in examples]) for name in examples[0]}
    return tf.data.Dataset.from_tensor_slices(whole).batch(size)


@pytest.mark.parametrize("pairing", PAIRINGS)
def test_evaluate_gives_the_means_over_all_pixels_and_changes_nothing(pairing):
    model, batches = build(pairing), finite(3)
    before = arrays([*model.variables, *model.teacher.weights])
    scores = model.evaluate(batches, verbose=0, return_dict=True)
    values, cosines = [], []
    for batch in batches:
        images = model.views_to_images(batch)
        maps = model(images, training=False), model.teacher(images)
        loss, positive, _, weights = model._compare(*maps, batch)
        values.append(np.stack([loss, weights], axis=-1).reshape(-1, 2))
        cosines.append(np.array(positive).ravel())
    loss, weights = np.concatenate(values).T
    assert scores["loss"] == pytest.approx(np.average(loss, weights=weights), rel=1e-5)
    cosine = np.average(np.concatenate(cosines), weights=weights)
    assert scores["positive_cosine"] == pytest.approx(cosine, abs=1e-5)
    assert scores.keys() == {"loss", "retrieval_top1", "positive_cosine"}
    again = model.evaluate(batches, verbose=0, return_dict=True)  # the means start anew
    assert again == pytest.approx(scores, rel=1e-6)
    for one, two in zip(before, arrays([*model.variables, *model.teacher.weights]), strict=True):
        np.testing.assert_array_equal(one, two)


def test_fit_takes_validation_data_with_and_without_replicas(two_replicas):
    settings = {"steps_per_epoch": 2, "epochs": 2, "shuffle": False, "verbose": 0}
    alone = build()
    history = alone.fit(toys.batches(8), validation_data=finite(2), **settings).history
    assert {"loss", "feature_spread", "val_loss", "val_retrieval_top1"} <= history.keys()
    assert history["val_loss"][1] != history["val_loss"][0]
    with two_replicas.scope():
        mirrored = build()
        mirrored.compile(optimizer=keras.optimizers.SGD(0.1, momentum=0.9))  # jit as Keras likes
    both = mirrored.fit(toys.batches(8), validation_data=finite(2), **settings).history
    for name in ("loss", "val_loss", "val_positive_cosine"):
        np.testing.assert_allclose(both[name], history[name], rtol=1e-3)


@pytest.mark.parametrize("argument", ["loss", "metrics"])
def test_losses_and_metrics_for_labels_are_refused(argument):
    with pytest.raises(ValueError, match=rf"compile: expected no {argument}, .*Leave it out\.$"):
        build().compile("sgd", **{argument: ["accuracy"]})


@pytest.mark.parametrize("make", [lambda: toys.backbone(8), lambda: "a name"])
def test_what_is_no_teacher_is_refused(make):
    with pytest.raises(ValueError, match="Expected a teacher of pcd_tf.teachers.* Received: a "):
        Distiller(make(), toys.backbone(8), queue_size=8)


def test_a_student_without_a_map_is_refused():
    backbone = toys.backbone(8)
    vectors = keras.Sequential([backbone, keras.layers.GlobalAveragePooling2D()])
    for network in (vectors, keras.Model(), None):
        with pytest.raises(ValueError, match=r"Expected a student that gives a map \(B, H, W, C\)"):
            Distiller(toys.teacher(), network, queue_size=8)
