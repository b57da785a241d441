"""A finished distill run of a toy student: one block a stack, P2..P5."""

import json

import keras_hub
import numpy as np
import pytest

MEAN, STD = (100.0, 110.0, 120.0), (50.0, 60.0, 70.0)
IMAGE_SIZE = 40


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
    random = np.random.default_rng(0)
    for weight in backbone.weights:
        if weight.name in ("gamma", "moving_variance"):
            weight.assign(random.uniform(0.5, 1.5, weight.shape))
        elif weight.name in ("beta", "moving_mean"):
            weight.assign(random.normal(0.0, 0.2, weight.shape))
    backbone.save_to_preset(str(workdir / "student"))
    config = {
        "job": "distill",
        "settings": {"student": "toy", "image_size": IMAGE_SIZE},
        "versions": {"keras": "3"},
        "git_revision": "abc",
        "mean": MEAN,
        "std": STD,
    }
    (workdir / "config.json").write_text(json.dumps(config))
    return workdir
