"""What a downstream network starts from: each kind is told, loaded, or refused."""

import json

import keras
import keras_hub
import numpy as np
import pytest

from pcd_tf import inits, normalisation, students, teachers
from tests import tiny_run, toys


@pytest.fixture
def workdir(tmp_path):
    tiny_run.write(tmp_path, image_size=32)
    return tmp_path


def test_a_random_init_depends_on_the_seed_alone():
    def digest(seed):
        keras.utils.set_random_seed(seed)
        return inits.load("random", student="mobilenet_v3_small").sha256

    assert digest(1) == digest(1) != digest(2)


def test_a_students_weights_and_normalisation(workdir):
    init = inits.load(str(workdir))
    assert (init.kind, init.mean, init.std) == ("student", tuple(toys.MEAN), tuple(toys.STD))
    assert init.backbone.trainable_variables
    expected = students.read(workdir).backbone
    images = np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype("float32")
    np.testing.assert_array_equal(init.backbone(images), expected(images))


def test_a_students_preset_is_a_preset_with_imagenets_normalisation(workdir):
    init = inits.load(str(workdir / "student"))
    assert (init.kind, init.mean) == ("preset", normalisation.IMAGENET_MEAN)
    assert init.normalisation == "ImageNet's, assumed: the preset has none"
    assert init.sha256 == inits.load(str(workdir)).sha256


def test_a_presets_image_converter_gives_the_normalisation(workdir):
    converter = keras_hub.layers.ResNetImageConverter(
        image_size=(32, 32), scale=[0.02, 0.01, 0.05], offset=[-1.0, -2.0, -3.0]
    )
    converter.save_to_preset(str(workdir / "student"))
    init = inits.load(str(workdir / "student"))
    np.testing.assert_allclose(init.mean, (50.0, 200.0, 60.0), rtol=1e-6)
    np.testing.assert_allclose(init.std, (50.0, 100.0, 20.0), rtol=1e-6)
    assert init.normalisation == "the preset's"


def test_a_teachers_backbone_can_be_trained(tmp_path):
    images = keras.Input((None, None, 3))
    maps = keras.layers.Conv2D(8, 8, strides=8)(images)
    head = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
    teacher = teachers.Teacher("toy", keras.Model(images, maps), head, mean=(1, 2, 3))
    teacher.save(tmp_path / "teacher")
    init = inits.load(str(tmp_path / "teacher"))
    assert (init.kind, init.mean) == ("teacher", (1.0, 2.0, 3.0))
    assert len(init.backbone.trainable_variables) == 2


def test_what_is_no_init_is_refused_with_what_may_be_meant(workdir, tmp_path_factory):
    with pytest.raises(ValueError, match="Received: 'runs/nowhere', which does not exist"):
        inits.kind("runs/nowhere")
    folder = tmp_path_factory.mktemp("run")
    (folder / "config.json").write_text(json.dumps({"job": "pretrain"}))
    (folder / "teacher").mkdir()
    with pytest.raises(ValueError, match=r"none of these. Did you mean .*/teacher\?"):
        inits.kind(str(folder))
    with pytest.raises(ValueError, match="KerasHub preset.*no_such_preset, which does not load"):
        inits.load("no_such_preset")


def test_a_frozen_level_freezes_all_that_makes_it(workdir):
    backbone = inits.load(str(workdir)).backbone
    inits.freeze(backbone, level="P3", batch_norm=False)
    levels = students.pyramid(backbone)
    frozen = {layer.name for layer in keras.Model(backbone.input, levels["P3"]).layers}
    for layer in backbone.layers:
        assert layer.trainable == (layer.name not in frozen)
    assert backbone.trainable_variables


def test_frozen_batch_norm_keeps_its_statistics(workdir):
    backbone = inits.load(str(workdir)).backbone
    before = [np.array(variable) for variable in backbone.non_trainable_variables]
    inits.freeze(backbone, level=None, batch_norm=True)
    backbone(np.ones((2, 32, 32, 3), "float32"), training=True)
    kernels = [v for v in backbone.trainable_variables if v.name == "kernel"]
    assert len(kernels) == len(backbone.trainable_variables)
    norms = [x for x in backbone.layers if isinstance(x, keras.layers.BatchNormalization)]
    after = [np.array(v) for norm in norms for v in (norm.moving_mean, norm.moving_variance)]
    assert len(after) == len(before)
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_unknown_level_is_refused():
    images = keras.Input((None, None, 3))
    network = keras.Model(images, keras.layers.Conv2D(8, 16, strides=16)(images))
    with pytest.raises(ValueError, match="a level of the backbone, P4. Received: P2"):
        inits.freeze(network, level="P2", batch_norm=False)
