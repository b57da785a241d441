"""A preset's normalisation is what its own image converter does to an image."""

import keras_hub
import numpy as np
import pytest

from pcd_tf import inits, normalisation
from tests import tiny_run


@pytest.fixture
def preset(tmp_path):
    tiny_run.write(tmp_path, image_size=32)
    return tmp_path / "student"


@pytest.mark.parametrize(
    ("scale", "offset"),
    [(None, None), (None, -128.0), (1 / 255, None), ([0.02, 0.01, 0.05], [-1.0, -2.0, -3.0])],
)
def test_it_is_what_kerashub_does(preset, scale, offset):
    converter = keras_hub.layers.ResNetImageConverter(scale=scale, offset=offset)
    converter.save_to_preset(str(preset))
    mean, std, source = normalisation.of_preset(preset)
    images = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3)).astype("float32")
    received = (images - np.array(mean)) / np.array(std)
    np.testing.assert_allclose(received, converter(images), atol=1e-4)
    assert source == "the preset's"
    init = inits.load(str(preset))
    assert (init.mean, init.std, init.normalisation) == (mean, std, source)


def test_imagenets_is_assumed_where_a_preset_says_nothing(preset):
    assert normalisation.of_preset(preset) == normalisation.ASSUMED
    assert "assumed" in normalisation.ASSUMED.source
