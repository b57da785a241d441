"""kNN and the linear probe on vectors: slow references, separable and hopeless features."""

import tracemalloc

import numpy as np
import pytest
import tensorflow as tf

from pcd_tf import data, probes
from pcd_tf.probes import Features, _features, _sgd, knn, linear

NAMES = tuple("abcdefg")


def clusters(num_images, *, noise, seed, num_classes=7, dim=12):
    centres = np.random.default_rng(99).normal(0, 1, (num_classes, dim))
    random = np.random.default_rng(seed)
    labels = np.arange(num_images) % num_classes
    vectors = centres[labels] + random.normal(0, noise, (num_images, dim))
    return Features(vectors.astype("float32"), labels, NAMES[:num_classes])


def slow_knn(train, held_out, k, temperature):
    """Share of the held-out whose class is the first, and among the first five, of the votes."""
    first, five = 0, 0
    for vector, label in zip(held_out.vectors, held_out.labels, strict=True):
        cosines = [
            float(vector @ other / np.linalg.norm(vector) / np.linalg.norm(other))
            for other in train.vectors
        ]
        votes = dict.fromkeys(range(len(train.class_names)), 0.0)
        for place in sorted(range(len(cosines)), key=lambda i: -cosines[i])[:k]:
            votes[train.labels[place]] += np.exp(cosines[place] / temperature)
        order = sorted(votes, key=lambda c: -votes[c])
        first += order[0] == label
        five += label in order[:5]
    return first / len(held_out.labels), five / len(held_out.labels)


@pytest.mark.parametrize("k", [1, 6, 20])
def test_knn_equals_a_slow_reference(k):
    train, held_out = clusters(60, noise=1.5, seed=0), clusters(41, noise=1.5, seed=1)
    scores = knn.score(train, held_out, num_neighbours=k)
    first, five = slow_knn(train, held_out, k, 0.07)
    assert 0.2 < first < 0.95
    assert scores["knn_top1"] == pytest.approx(first)
    assert scores["knn_top5"] == pytest.approx(five)
    assert scores["knn_chance"] == pytest.approx(6 / 41)


@pytest.mark.parametrize("blocks", [(1000, 1000), (3, 4), (7, 1)])
@pytest.mark.parametrize("k", [1, 6, 20, 100])
def test_neighbours_of_any_blocks_are_those_of_all_pairs(k, blocks, monkeypatch):
    # Vectors of length 1 with exact products, and each several times: most cosines are ties.
    random = np.random.default_rng(0)
    choices = np.concatenate([np.eye(4), -np.eye(4), np.full((1, 4), 0.5)]).astype("float32")
    train, held_out = (choices[random.integers(0, 9, count)] for count in (60, 11))
    monkeypatch.setattr(knn, "_HELD_OUT", blocks[0])
    monkeypatch.setattr(knn, "_TRAIN", blocks[1])
    cosines, nearest = knn.nearest_neighbours(train, held_out, k)
    pairs = held_out @ train.T
    expected = np.argsort(-pairs, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(nearest, expected)
    np.testing.assert_array_equal(cosines, np.take_along_axis(pairs, expected, axis=1))


def test_neighbours_need_memory_for_a_block_not_for_all_pairs():
    train, held_out = (np.ones((count, 2), np.float32) for count in (40_000, 2_000))
    tracemalloc.start()
    try:
        knn.nearest_neighbours(train, held_out, 20)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16e6  # all pairs are 320 MB


def test_products_are_exact_again_inexact_afterwards():
    was_on = tf.config.experimental.tensor_float_32_execution_enabled()
    with _features.exact_products():
        assert not tf.config.experimental.tensor_float_32_execution_enabled()
    assert tf.config.experimental.tensor_float_32_execution_enabled() == was_on


def test_knn_depends_on_the_direction_of_vectors_alone():
    train, held_out = clusters(60, noise=1.5, seed=0), clusters(40, noise=1.5, seed=1)
    lengths = np.arange(1, 61, dtype="float32")[:, None]
    longer = Features(train.vectors * lengths, train.labels, NAMES)
    assert knn.score(longer, held_out) == knn.score(train, held_out)


def test_the_linear_probe_finds_a_direction_that_knn_drowns_in_noise():
    random = np.random.default_rng(0)
    parts = []
    for _ in range(2):
        labels = np.arange(400) % 2
        vectors = random.normal(0, 5.0, (400, 30))
        vectors[:, 3] = 1e-2 * (2 * labels - 1 + random.normal(0, 0.3, 400))  # small, but it tells
        vectors[:, 4] = 7.0  # constant
        parts.append(Features(vectors.astype("float32"), labels, ("a", "b")))
    assert linear.score(*parts)["linear_top1"] > 0.9
    assert knn.score(*parts)["knn_top1"] < 0.7


def test_the_linear_probe_chooses_its_penalty_without_the_held_out_images():
    train, held_out = clusters(70, noise=1.5, seed=0), clusters(40, noise=1.5, seed=1)
    scores = linear.score(train, held_out)
    wrong = Features(held_out.vectors, (held_out.labels + 1) % 7, NAMES)
    assert linear.score(train, wrong)["linear_c"] == scores["linear_c"]
    assert linear.score(train, wrong)["linear_top1"] < scores["linear_top1"]
    assert scores["linear_top1"] > 0.6
    assert scores["linear_top5"] >= scores["linear_top1"]
    shuffled = Features(train.vectors, np.random.default_rng(0).permutation(train.labels), NAMES)
    assert linear.score(shuffled, held_out)["linear_top1"] < 0.45


def by_sgd(monkeypatch, *, num_steps):
    """Has every set scored by SGD of a few small batches."""
    monkeypatch.setattr(linear, "MOST_PRODUCTS", 0)
    monkeypatch.setattr(_sgd, "NUM_STEPS", num_steps)
    monkeypatch.setattr(_sgd, "BATCH", 32)


def test_the_size_chooses_the_linear_probes_solver_which_is_said(monkeypatch, capsys):
    train, held_out = clusters(70, noise=0.5, seed=0), clusters(40, noise=0.5, seed=1)
    monkeypatch.setattr(_sgd, "NUM_STEPS", 100)
    for most, name, said in (
        (70 * 12 * 7, "linear_c", "Linear classifier by L-BFGS, C "),
        (70 * 12 * 7 - 1, "linear_rate", "Linear classifier by SGD, rate "),
    ):
        monkeypatch.setattr(linear, "MOST_PRODUCTS", most)
        scores = linear.score(train, held_out)
        assert set(scores) == {"linear_top1", "linear_top5", name, "linear_chance"}
        assert f"{said}{scores[name]:g}, chosen on a fifth" in capsys.readouterr().out
        assert scores["linear_top1"] > 0.9


def test_the_linear_probe_chooses_its_rate_without_the_held_out_images(monkeypatch):
    by_sgd(monkeypatch, num_steps=200)
    train, held_out = clusters(350, noise=1.5, seed=0), clusters(140, noise=1.5, seed=1)
    scores = linear.score(train, held_out)
    assert scores["linear_rate"] in _sgd.RATES
    assert scores["linear_top1"] > 0.6
    wrong = Features(held_out.vectors, (held_out.labels + 1) % 7, NAMES)
    assert linear.score(train, wrong)["linear_rate"] == scores["linear_rate"]
    assert linear.score(train, wrong)["linear_top1"] < scores["linear_top1"]


@pytest.mark.torch
def test_classifiers_side_by_side_are_those_of_torch_one_by_one(monkeypatch):
    torch = pytest.importorskip("torch", reason="torch is not installed (requirements-dev.txt)")
    by_sgd(monkeypatch, num_steps=20)
    train, rates = clusters(100, noise=1.0, seed=0), (0.01, 0.3)
    received = _sgd.fit(train, rates)
    mean, deviation = train.vectors.mean(axis=0), train.vectors.std(axis=0)
    inputs = torch.tensor((train.vectors - mean) / deviation)
    for rate, classify in zip(rates, received, strict=True):
        layer = torch.nn.Linear(12, 7)
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
        optimizer = torch.optim.SGD(layer.parameters(), rate * 32 / 256, momentum=0.9)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)
        for _, places in zip(range(20), _sgd._batches(100, 32), strict=False):
            logits = layer(inputs[places])
            loss = torch.nn.functional.cross_entropy(logits, torch.tensor(train.labels[places]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        expected = layer(inputs).detach().numpy()
        np.testing.assert_allclose(classify(train.vectors), expected, rtol=1e-3, atol=1e-4)


def test_batches_show_each_image_once_an_epoch():
    batches = _sgd._batches(10, 4)
    epochs = [np.concatenate([next(batches), next(batches)]) for _ in range(50)]
    assert all(len(set(epoch.tolist())) == 8 for epoch in epochs)
    assert set(np.concatenate(epochs).tolist()) == set(range(10))


def test_standardisation_is_numpys_part_by_part(monkeypatch):
    maps = np.random.default_rng(0).normal(3.0, 2.0, (7, 2, 3, 5)).astype("float32")
    maps[..., 2] = 4.0  # constant
    monkeypatch.setattr(_features, "_VALUES_AT_ONCE", 70)  # two maps
    mean, deviation = _features.mean_and_deviation(maps)
    np.testing.assert_allclose(mean, maps.mean(axis=(0, 1, 2)), rtol=1e-5)
    expected = np.where(np.arange(5) == 2, 1.0, maps.std(axis=(0, 1, 2)))
    np.testing.assert_allclose(deviation, expected, rtol=1e-5)


def test_a_label_that_training_never_saw_is_simply_not_found():
    train, held_out = clusters(60, noise=0.1, seed=0), clusters(21, noise=0.1, seed=1)
    without = train.part(train.labels != 6)
    for probe, name in ((knn, "knn_top1"), (linear, "linear_top1")):
        assert probe.score(without, held_out)[name] == pytest.approx(6 / 7)


def test_sources_with_other_classes_are_refused(tmp_path):
    for folder in ("train/cat", "train/dog", "val/cat", "val/cow", "flat"):
        (tmp_path / folder).mkdir(parents=True)
        data.build("synthetic").open(0, 0).resize((8, 8)).save(tmp_path / folder / "x.png")
    train, val, flat = (
        data.build("folder", data_dir=str(tmp_path / x)) for x in ("train", "val", "flat")
    )
    probes.check_classes(train, train)
    with pytest.raises(ValueError, match="same classes in .*: dog only in .*train; cow only in"):
        probes.check_classes(train, val)
    with pytest.raises(ValueError, match="two classes or more in .*flat.* Received: no class fol"):
        probes.check_classes(train, flat)
