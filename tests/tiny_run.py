"""A finished distill run of a tiny student whose every weight is random."""

import json
from pathlib import Path

import keras_hub
import numpy as np

from pcd_tf import students
from tests import toys

CHANNELS = 32


def write(workdir: Path, *, image_size: int) -> None:
    """Writes what `pcd_tf.students.read` reads into a directory."""
    backbone = keras_hub.models.ResNetBackbone(
        [64], [7], [64, 16, 16, CHANNELS], [1, 1, 1, 1], [1, 2, 2, 2], "basic_block"
    )
    random = np.random.default_rng(0)
    for weight in backbone.weights:
        if weight.name in ("gamma", "moving_variance"):
            weight.assign(random.uniform(0.5, 1.5, weight.shape))
        elif weight.name in ("beta", "moving_mean"):
            weight.assign(random.normal(0.0, 0.2, weight.shape))
    (workdir / "student").mkdir()
    students.save(backbone, workdir / "student")
    config = {
        "job": "distill",
        "settings": {"student": "toy", "image_size": image_size},
        "mean": toys.MEAN,
        "std": toys.STD,
    }
    (workdir / "config.json").write_text(json.dumps(config))
