"""The probes of maps: known correspondences are found, known classes are learnt."""

import numpy as np
import pytest
from keras import ops
from PIL import Image

from pcd_tf import correspondence, data, probes
from pcd_tf.data.synthetic import SyntheticSource
from pcd_tf.probes import linear_dense, pixel_retrieval
from tests import toys


def test_the_probes_are_the_files():
    assert probes.names() == ("knn", "linear", "linear_dense", "pixel_retrieval")
    for name in probes.names():
        probe = probes.load(name)
        assert probe.IMAGES in ("labelled", "maps", "any")
        assert probe.MAIN.startswith(name)


def test_the_network_is_the_backbone_in_inference_mode_and_follows_it():
    backbone = toys.backbone()
    toys.scramble(backbone.weights, 0)
    before = [np.array(weight) for weight in backbone.weights]
    network = probes.network(backbone, toys.MEAN, toys.STD)
    images = toys.batch(3)["images"][:, 0]
    expected = backbone((images - np.array(toys.MEAN)) / np.array(toys.STD), training=False)
    np.testing.assert_allclose(network(images), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(network(images[:1]), expected[:1], rtol=1e-4, atol=1e-5)
    for old, weight in zip(before, backbone.weights, strict=True):
        np.testing.assert_array_equal(old, weight)
    toys.scramble(backbone.weights, 1)
    assert np.abs(network(images) - expected).max() > 0.1


# Pixel retrieval


def places(boxes, flips, size):
    """Maps whose pixel is a code of where in its image it lies, (B, H, W, 2 + B)."""
    maps = []
    for i, (box, flip) in enumerate(zip(boxes, flips, strict=True)):
        y, x = np.meshgrid(*[(np.arange(size) + 0.5) / size] * 2, indexing="ij")
        x = 1 - x if flip else x
        y, x = box[0] + y * (box[2] - box[0]), box[1] + x * (box[3] - box[1])
        image = np.full(y.shape, 10.0 * i)
        # Unit vectors of a sphere's points: the nearest place has the largest cosine.
        maps.append(np.stack([y, x, image, np.full_like(y, 1e2)], axis=-1))
    flat = np.stack(maps).astype("float64")
    lift = np.concatenate(
        [flat[..., :3], 1e4 - np.square(flat[..., :3]).sum(-1, keepdims=True)], -1
    )
    return lift / np.linalg.norm(lift, axis=-1, keepdims=True)


def crops(count, seed):
    random = np.random.default_rng(seed)
    start = random.uniform(0, 0.4, (count, 2, 2))
    boxes = np.concatenate([start, start + random.uniform(0.5, 0.6, (count, 2, 2))], axis=-1)
    return boxes, random.random((count, 2)) < 0.5


def test_targets_are_where_the_correspondence_says():
    boxes, flips = crops(5, 0)
    targets = pixel_retrieval._targets(boxes, flips, (6, 6), (7, 7)).reshape(5, 6, 6)
    assert 0.3 < (targets >= 0).mean() < 1
    points1, points2, _ = (
        np.array(x)
        for x in correspondence.overlap_grid(
            boxes[:, 0], flips[:, 0], boxes[:, 1], flips[:, 1], (60, 60)
        )
    )
    checked = 0
    for i, a, b in np.ndindex(5, 60, 60):
        own = np.floor(points1[i, a, b] * 6).astype(int)
        centre = (own + 0.5) / 6
        if np.abs(points1[i, a, b] - centre).max() > 4e-3:
            continue  # the grid's points that lie at a pixel's centre know its place
        there = points2[i, a, b] * 7
        if np.abs(there - np.round(there)).min() < 0.1:
            continue  # too near to an edge
        row, column = np.floor(there).astype(int)
        assert targets[i, own[0], own[1]] == row * 7 + column
        checked += 1
    assert checked > 10


def test_a_map_of_places_is_retrieved_and_a_constant_one_is_not():
    boxes, flips = crops(6, 1)
    first, second = (places(boxes[:, view], flips[:, view], 6) for view in (0, 1))
    scores = pixel_retrieval.score(first, second, boxes, flips)
    assert scores["pixel_retrieval_top1"] > 0.95
    assert scores["pixel_retrieval_own_top1"] >= scores["pixel_retrieval_top1"]
    assert scores["pixel_retrieval_chance"] == pytest.approx(1 / (6 * 36))
    other = pixel_retrieval.score(first, second[::-1], boxes, flips)
    assert other["pixel_retrieval_top1"] < 0.3
    nothing = pixel_retrieval.score(np.ones_like(first), np.ones_like(second), boxes, flips)
    assert nothing["pixel_retrieval_top1"] < 0.05


def test_views_without_overlap_have_no_score():
    boxes = np.array([[[0, 0, 0.4, 0.4], [0.6, 0.6, 1, 1]]])
    maps = np.random.default_rng(0).normal(0, 1, (1, 3, 3, 4)).astype("float32")
    scores = pixel_retrieval.score(maps, maps, boxes, np.zeros((1, 2), bool))
    assert np.isnan(scores["pixel_retrieval_top1"])


def test_pixel_retrieval_of_a_source_repeats_and_knows_a_good_network_from_others(monkeypatch):
    source = SyntheticSource(num_examples=6, image_size=64)
    size = {"image_size": 32, "batch_size": 4}
    plain = data.ViewRecipe(crop_area=(0.4, 0.8), jitter=0, grey=0, blur=0)
    monkeypatch.setattr(pixel_retrieval, "RECIPE", data.Recipe(plain, plain))

    def colours(images):
        return np.array(ops.average_pool(images.astype("float32"), 8) - 120)

    def positions(images):
        return np.tile(np.eye(16, dtype="float32").reshape(1, 4, 4, 16), (len(images), 1, 1, 1))

    scores = {
        network.__name__: pixel_retrieval.evaluate(network, None, source, **size)
        for network in (colours, positions)
    }
    assert scores["colours"] == pixel_retrieval.evaluate(colours, None, source, **size)
    top1 = {name: score["pixel_retrieval_top1"] for name, score in scores.items()}
    assert top1["colours"] > 1.5 * top1["positions"], top1
    with pytest.raises(ValueError, match="two images or more"):
        pixel_retrieval.evaluate(colours, None, SyntheticSource(num_examples=1), **size)


# The dense probe


class Squares(data.Source):
    """Grey images with a bright square of class 1, or 2 where it is red; or their class maps."""

    def __init__(self, count, seed, shown):
        super().__init__(f"squares {seed}", count)
        self._seed, self._shown = seed, shown

    def open(self, index, payload, *, min_pixels=None):
        random = np.random.default_rng([self._seed, index])
        image = random.integers(0, 60, (40, 48, 3)).astype(np.uint8)
        classes = np.zeros((40, 48), np.uint8)
        label = index % 2 + 1
        y, x = random.integers(0, 20, 2)
        image[y : y + 16, x : x + 16] = (240, 240, 240) if label == 1 else (240, 0, 0)
        classes[y : y + 16, x : x + 16] = label
        classes[:4] = data.IGNORED
        return Image.fromarray({"image": image, "classes": classes}[self._shown])

    def image_name(self, index):
        return str(index)


def squares(count, seed, class_names=("nothing", "grey", "red")):
    maps = Squares(count, seed, "classes")
    return data.Segmented(Squares(count, seed, "image"), maps, class_names)


def blurred(images):
    """A map of stride 4 that holds the colours, on scales that differ."""
    pooled = np.array(ops.average_pool(images.astype("float32"), 4))
    return np.concatenate([1e3 * pooled, 1e-4 * pooled[..., :1] ** 2], axis=-1)


def test_the_dense_probe_learns_what_the_map_holds(monkeypatch):
    monkeypatch.setattr(linear_dense, "NUM_STEPS", 300)
    monkeypatch.setattr(linear_dense, "RATE", 0.05)
    train, held_out = squares(24, 0), squares(7, 1)
    size = {"image_size": 48, "batch_size": 5}
    scores = linear_dense.evaluate(blurred, train, held_out, **size)
    assert scores["linear_dense_miou"] > 0.8
    assert scores["linear_dense_pixel_accuracy"] > 0.95

    def blind(images):
        return np.ones((len(images), 12, 12, 4), "float32")

    # What says nothing is the commonest class everywhere: the IoU of two classes is 0.
    scores = linear_dense.evaluate(blind, train, held_out, **size)
    assert scores["linear_dense_miou"] < 0.34


def test_labels_are_read_where_the_maps_pixels_lie():
    labels = np.arange(64, dtype=np.uint8).reshape(1, 8, 8)
    np.testing.assert_array_equal(linear_dense._sampled(labels, (2, 2)), labels)
    coarse = linear_dense._sampled(labels.repeat(2, 1).repeat(2, 2), (2, 2))
    np.testing.assert_array_equal(coarse, labels)


def test_the_dense_probe_refuses_what_cannot_be_learnt():
    with pytest.raises(ValueError, match="all are ignored"):
        linear_dense.fit(np.zeros((1, 2, 2, 3), "float32"), np.full((1, 8, 8), 255, np.uint8), 3)


def test_pooled_features_are_the_means_of_the_maps_of_readable_labelled_images(tmp_path):
    for label, name in enumerate(("cat", "dog")):
        (tmp_path / name).mkdir()
        for i in range(2):
            image = data.build("synthetic").open(label, i).resize((40, 32))
            image.save(tmp_path / name / f"{i}.png")
    (tmp_path / "dog" / "x.jpg").write_bytes(b"no image")
    source = data.build("folder", data_dir=str(tmp_path))

    def network(images):
        return np.array(ops.average_pool(images.astype("float32"), 16))

    features = probes.pooled(network, source, image_size=32, batch_size=3)
    assert features.labels.tolist() == [0, 0, 1, 1]
    batches = data.images_in_order(source, image_size=32, batch_size=5, crop=data.centre_crop)
    images = next(batches.as_numpy_iterator())["images"][:4]
    np.testing.assert_allclose(features.vectors, images.mean(axis=(1, 2)), rtol=1e-4)
