"""Pictures are there, of the right form, and show something."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from pcd_tf.training import pictures

ROOT = Path(__file__).resolve().parents[2]
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 24, 24, 3), np.uint8)


def maps(size, dim=8, seed=0):
    return np.random.default_rng(seed).normal(size=(3, size, size, dim)).astype("float32")


def shown(path):
    """The pixels of a PNG; fails where it is (nearly) of one colour."""
    with Image.open(path) as image:
        assert image.format == "PNG"
        pixels = np.asarray(image.convert("RGB")).astype(float)
    assert pixels.std() > 5
    return pixels


def lines(count):
    return [
        {"step": i, "loss": 9.0 - i, "retrieval_top1": i / 9, "feature_spread": 0.9, "time": 1e9}
        for i in range(1, count + 1)
    ]


def views(count, size=24):
    boxes = np.array([[[0, 0, 0.5, 0.5], [0.25, 0, 0.75, 0.5]]] * count, np.float32)
    flips = np.array([[False, True]] * count)
    images = np.random.default_rng(0).integers(0, 256, (count, 2, size, size, 3)).astype(np.uint8)
    return {"images": images, "boxes": boxes, "flips": flips, "index": np.arange(count)}


def objects(count, size=24):
    rows = np.array([[2, 2, 12, 12], [14, 0, 24, 24], [0, 0, 0, 0]], np.float32)
    masks = np.zeros((count, 3, size, size), bool)
    masks[:, 0, 2:12, 2:12] = True
    return {
        "images": np.repeat(IMAGES[:1], count, axis=0),
        "boxes": np.repeat(rows[None], count, axis=0),
        "labels": np.array([[1, 0, -1]] * count, np.int32),
        "masks": masks,
    }


def classes(count, size=24):
    maps = np.zeros((count, size, size), np.uint8)
    maps[:, :, 12:], maps[:, 20:] = 1, 255
    return {"images": np.repeat(IMAGES[:1], count, axis=0), "maps": maps}


@pytest.mark.parametrize("made", [views, objects, classes])
@pytest.mark.parametrize(("batches", "count"), [(1, 1), (1, 9), (2, 5)])
def test_batches(tmp_path, made, batches, count):
    path = tmp_path / "pictures" / "batch.png"
    pictures.draw_batches([made(count)] * batches, path, class_names=["cat", "dog"])
    height, width = shown(path).shape[:2]
    assert width > (1000 if count > 1 else 300)
    assert height > (2 if count > 4 else 1) * batches * 200


@pytest.mark.parametrize(
    ("second", "frames"),
    [
        ((0.25, 0.0, 0.75, 0.5), [(0, 24, 12, 24), (0, 24, 0, 12)]),  # lower
        ((0.0, 0.25, 0.5, 0.75), [(12, 24, 0, 24), (12, 24, 0, 24)]),  # at the right, mirrored
        ((0.6, 0.0, 1.0, 0.5), []),  # beside the first
    ],
)
def test_what_both_views_show_is_framed_where_it_lies(second, frames):
    axis = Figure().subplots()
    example = {name: values[0] for name, values in views(1).items()}
    example["boxes"][1] = second
    pictures._draw_views(axis, example)
    places = [np.asarray(line.get_data()) + 0.5 for line in axis.lines[::2]]  # each is drawn twice
    for place, start, frame in zip(places, (0, 24 * (1 + pictures._GAP)), frames, strict=False):
        (left, top), (right, bottom) = place.min(axis=1), place.max(axis=1)
        assert (left - start, right - start, top, bottom) == pytest.approx(frame)
    assert len(places) == len(frames)


@pytest.mark.parametrize("count", [1, 5])
def test_curves(tmp_path, count):
    path = tmp_path / "pictures" / "curves.png"
    pictures.draw_curves(lines(count), path, chance=0.01)
    assert shown(path).shape[1] > 2 * shown(path).shape[0]  # three side by side


def test_curves_of_a_run_with_fewer_values(tmp_path):
    pictures.draw_curves([{"step": 1, "loss": 2.0}], tmp_path / "curves.png")
    shown(tmp_path / "curves.png")


@pytest.mark.parametrize("size", [1, 3])
def test_maps_and_similarities(tmp_path, size):
    both = {"teacher": maps(size), "student": maps(size, dim=5, seed=1)}
    pictures.draw_maps(IMAGES, both, tmp_path / "maps.png")
    middle = size // 2
    pictures.draw_similarity(IMAGES, both, tmp_path / "cosine.png", pixel=(middle, middle))
    for name in ("maps.png", "cosine.png"):
        height, width = shown(tmp_path / name).shape[:2]
        assert height > 600
        assert width > 600


def test_maps_of_one_colour_are_no_error(tmp_path):
    pictures.draw_maps(IMAGES, {"teacher": np.ones((3, 2, 2, 8))}, tmp_path / "maps.png")
    pictures.draw_similarity(
        IMAGES, {"teacher": np.zeros((3, 2, 2, 8))}, tmp_path / "cosine.png", pixel=(1, 1)
    )


def test_a_student_that_equals_its_teacher_up_to_a_rotation_has_its_colours():
    teacher = maps(4)
    rotation, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(8, 8)))
    first = pictures._components(teacher, None)
    second = pictures._components(teacher @ rotation, first)
    np.testing.assert_allclose(first, second, atol=1e-5)


def test_the_first_component_carries_most():
    stretched = maps(4) * np.linspace(4, 0.2, 8)
    variances = pictures._components(stretched, None).var(axis=(0, 1, 2))
    assert variances[0] >= variances[1] >= variances[2] > 0


def test_a_notebook_keeps_its_own_backend():
    code = "import pcd_tf.training.pictures, sys; sys.exit('matplotlib.pyplot' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
