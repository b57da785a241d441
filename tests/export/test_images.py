"""The images that an export is checked with: the run's own, and a photograph."""

import numpy as np
import pytest
from PIL import Image
from tensorflow_datasets.core import DatasetBuilder

from export._images import Images

COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255), (9, 9, 9))


@pytest.fixture
def folder(tmp_path):
    for number, colour in enumerate(COLOURS):
        Image.new("RGB", (90, 60), colour).save(tmp_path / f"{number}.png")
    return tmp_path


def test_images_of_the_run_evenly_spaced_then_a_photograph(folder):
    images = Images.of({"dataset": "folder", "data_dir": str(folder), "seed": 3})
    batch = images.batch(20, 32)
    assert batch.shape == (4, 20, 32, 3)
    assert batch.dtype == np.uint8
    for image, colour in zip(batch[:3], COLOURS[::2], strict=True):
        np.testing.assert_array_equal(image, np.broadcast_to(colour, image.shape))
    assert batch[3].std() > 30
    assert str(images) == f"3 of {folder}, and a photograph"
    np.testing.assert_array_equal(batch, images.batch(20, 32))


def test_proportions_are_kept(tmp_path):
    halves = np.zeros((40, 80, 3), "uint8")
    halves[:, 20:60] = 255
    Image.fromarray(halves).save(tmp_path / "one.png")
    images = Images.of({}, data_dir=str(tmp_path))
    assert images.batch(40, 40).shape[0] == 2
    np.testing.assert_array_equal(images.batch(40, 40)[0], 255)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({}, "does not say where"),
        ({"dataset": "folder", "data_dir": "/nowhere/at/all"}, "/nowhere/at/all"),
        ({"dataset": "tfds", "tfds_name": "no_such/one", "data_dir": "/nowhere"}, "'no_such/one'"),
        ({"dataset": "tfds", "tfds_name": "no_such:1.0.0"}, "'no_such:1.0.0'"),
        ({"dataset": "another_release"}, "another_release"),
    ],
)
def test_without_the_runs_images_there_is_the_photograph_and_no_calibration(settings, why):
    images = Images.of(settings)
    assert f"the run's own are not there: {images.where}" in str(images)
    assert why in images.where
    photograph, mirrored = images.batch(24, 32)
    np.testing.assert_array_equal(photograph[:, ::-1], mirrored)
    assert photograph.std() > 30
    with pytest.raises(ValueError, match="to calibrate int8 with. Received: none.*--data_dir"):
        images.representative(10, 24, 32)


def test_a_dataset_that_is_not_prepared_is_not_downloaded(monkeypatch, tmp_path):
    def download(*_, **__):
        pytest.fail("it was downloaded")

    monkeypatch.setattr(DatasetBuilder, "download_and_prepare", download)
    (tmp_path / "cifar10" / "3.0.1").mkdir(parents=True)  # another version
    settings = {"dataset": "tfds", "tfds_name": "cifar10:3.0.2", "data_dir": str(tmp_path)}
    images = Images.of(settings)
    assert images.source is None
    assert "Expected cifar10:3.0.2 to be prepared" in images.where


def test_a_folder_that_is_given_must_hold_images(tmp_path):
    with pytest.raises(ValueError, match="Expected images"):
        Images.of({"dataset": "synthetic"}, data_dir=str(tmp_path))


def test_images_to_calibrate_with_are_spread_over_all(folder):
    images = Images.of({"dataset": "synthetic"}, data_dir=str(folder))
    found = images.representative(3, 10, 12)
    assert found.shape == (3, 10, 12, 3)
    np.testing.assert_array_equal(found[:, 5, 5], COLOURS[::2])
    assert len(images.representative(100, 10, 12)) == len(COLOURS)
