"""A finished distill run of a toy student: one block a stack, P2..P5."""

import dataclasses
import json

import keras
import keras_hub
import numpy as np
import pytest
from PIL import Image

from export._images import Images
from export._order import Order
from pcd_tf import students

MEAN, STD = (100.0, 110.0, 120.0), (50.0, 60.0, 70.0)
IMAGE_SIZE = 40
SETTINGS = {"student": "toy", "image_size": IMAGE_SIZE, "dataset": "synthetic", "seed": 0}


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    backbone = keras_hub.models.ResNetBackbone(
        [64],
        [7],
        [64, 16, 16, 32],
        [1, 1, 1, 1],
        [1, 2, 2, 2],
        "basic_block",
        dtype="mixed_bfloat16",
    )
    scramble(backbone)
    backbone.save_to_preset(str(workdir / "student"))
    config = {
        "job": "distill",
        "settings": SETTINGS,
        "versions": {"keras": "3"},
        "git_revision": "abc",
        "mean": MEAN,
        "std": STD,
    }
    (workdir / "config.json").write_text(json.dumps(config))
    return workdir


@pytest.fixture(scope="session")
def student(finished):
    return students.read(finished)


@pytest.fixture(scope="session")
def images():
    return Images.of(SETTINGS)


@pytest.fixture(scope="session")
def order(student, images):
    return Order(student, images)


@pytest.fixture(scope="session")
def tiny(order, tmp_path_factory):
    """An order for a student of one convolution, with eight images of noise to calibrate with."""
    folder = tmp_path_factory.mktemp("noise")
    random = np.random.default_rng(0)
    for i in range(8):
        blocks = random.integers(0, 256, (5, 6, 3), "uint8")
        Image.fromarray(blocks.repeat(8, axis=0).repeat(8, axis=1)).save(folder / f"{i}.png")
    student = dataclasses.replace(order.student, backbone=one_convolution())
    return Order(student, Images.of({}, data_dir=str(folder)))


def one_convolution(change=None):
    """Images of any size -> (B, h, w, 4), stride 8."""
    images = keras.Input((None, None, 3))
    maps = keras.layers.Conv2D(4, 9, strides=8, padding="same", activation="relu")(images)
    return keras.Model(images, change(maps) if change else maps, name="mine")


def scramble(backbone):
    """Sets BatchNorm at random, so that none of it is a neutral element."""
    random = np.random.default_rng(0)
    for weight in backbone.weights:
        if weight.name in ("gamma", "moving_variance"):
            weight.assign(random.uniform(0.5, 1.5, weight.shape))
        elif weight.name in ("beta", "moving_mean"):
            weight.assign(random.normal(0.0, 0.2, weight.shape))
