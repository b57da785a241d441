"""What every teacher keeps to: frozen, untracked, in inference mode, whole on disk."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from pcd_tf import plugins, teachers
from tests import small_teachers


@pytest.fixture(scope="module")
def teacher():
    return randomised(teachers.build("moco_v3_resnet18"))


@pytest.fixture
def mixed_bfloat16():
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    yield
    keras.mixed_precision.set_global_policy("float32")


def test_names():
    assert {"moco_v3_resnet18", "moco_v3_resnet50"} <= set(teachers.names())


def test_names_by_their_beginning():
    assert teachers.names("moco_v3_resnet") == ("moco_v3_resnet18", "moco_v3_resnet50")
    assert teachers.names("moco_v4") == ()


def test_a_teacher_that_is_only_known_with_its_file_cannot_be_built():
    with pytest.raises(
        ValueError, match="known without its file. Received: 'custom': read it from"
    ):
        teachers.build("custom")


def test_an_unknown_teacher_gets_the_nearest():
    with pytest.raises(ValueError, match="Did you mean 'moco_v3_resnet50'"):
        teachers.build("moco_resnet50")
    with pytest.raises(ValueError, match="Did you mean 'moco_v3_resnet50'"):
        teachers.convert("moco_resnet50", "r-50.pth.tar")


@pytest.mark.parametrize("name", teachers.names())
def test_a_teacher_comes_from_a_checkpoint(name):
    assert callable(plugins.load("pcd_tf.teachers", name).from_checkpoint)


@pytest.mark.parametrize("name", sorted(set(teachers.names()) - {"custom"}))
def test_a_teacher_embeds_every_pixel(name, monkeypatch):
    small_teachers.patch(monkeypatch)  # ResNets of stride 8, for time's sake
    teacher = teachers.build(name)
    assert teacher.name == name
    embedding = teacher(np.zeros((1, 224, 224, 3), "float32"))
    stride = 8 if "resnet" in name else 14 if name == "dinov2" else 16
    assert tuple(embedding.shape) == (1, 224 // stride, 224 // stride, teacher.embedding_dim)
    assert teacher.weights
    assert not any(weight.trainable for weight in teacher.weights)
    assert len(teacher.mean) == len(teacher.std) == 3


def test_the_head_of_moco_v3(teacher):
    assert (teacher.hidden_units, teacher.embedding_dim) == (1024, 256)
    hidden, norm, _, last, last_norm = teacher.head.layers
    assert tuple(hidden.kernel.shape) == (512, 1024)
    assert not hidden.use_bias
    assert not last.use_bias
    assert len(norm.weights) == 4
    assert len(last_norm.weights) == 2  # its statistics alone
    assert {(n.epsilon, n.momentum, n.synchronized) for n in (norm, last_norm)} == {
        (1e-5, 0.9, True)
    }


def test_the_mean_over_pixels_is_the_head_of_the_mean_pixel(teacher):
    maps = teacher.backbone(images())
    expected = teacher.head(keras.ops.mean(maps, axis=(1, 2)))
    np.testing.assert_allclose(
        keras.ops.mean(teacher(images()), axis=(1, 2)),
        expected,
        atol=1e-5 * np.max(np.abs(expected)),
    )


def test_it_comes_back_from_its_directory_exactly(teacher, tmp_path):
    teacher.save(tmp_path / "teacher")
    again = teachers.load(tmp_path / "teacher", "moco_v3_resnet18")
    assert (again.name, again.mean, again.std, again.origin) == (
        teacher.name,
        teacher.mean,
        teacher.std,
        teacher.origin,
    )
    for one, other in zip(teacher.weights, again.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(teacher(images()), again(images()))


def test_a_teacher_of_float32_loads_under_mixed_bfloat16_and_back(
    teacher, tmp_path, mixed_bfloat16
):
    teacher.save(tmp_path / "float32")
    mixed = teachers.load(tmp_path / "float32")
    assert mixed.backbone(images()).dtype == "bfloat16"
    assert {weight.dtype for weight in mixed.weights} == {"float32"}
    received, expected = mixed(images()), teacher(images())
    assert received.dtype == "float32"
    error = np.linalg.norm(received - expected) / np.linalg.norm(expected)
    assert 1e-6 < error < 0.05  # it did compute in bfloat16
    mixed.save(tmp_path / "mixed")
    keras.mixed_precision.set_global_policy("float32")
    again = teachers.load(tmp_path / "mixed")
    np.testing.assert_array_equal(again(images()), expected)


class Holder(keras.Model):
    """A model with a teacher as an attribute, and a layer of its own to train through it."""

    def __init__(self, teacher):
        super().__init__()
        self.colour = keras.layers.Dense(3, kernel_initializer="identity")
        self.teacher = teacher

    def call(self, images):
        return self.teacher(self.colour(images))


def test_a_model_that_holds_it_neither_tracks_nor_saves_nor_trains_it(teacher, tmp_path):
    model = Holder(teacher)
    before = [weight.numpy() for weight in teacher.weights]
    model.compile("sgd", "mse")
    model.fit(images(), np.ones((2, 2, 2, 256), "float32"), epochs=2, verbose=0)
    for weight, value in zip(teacher.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)
    assert len(model.weights) == 2
    assert not np.allclose(model.colour.kernel, np.eye(3), atol=1e-6)
    model.save_weights(tmp_path / "model.weights.h5")
    assert (tmp_path / "model.weights.h5").stat().st_size < 100_000
    path = tf.train.Checkpoint(model=model).save(str(tmp_path / "checkpoint"))
    saved = dict(tf.train.list_variables(path))
    assert not [name for name in saved if "teacher" in name or "stack" in name]
    assert sum(np.prod(shape) for shape in saved.values()) < 100


def test_its_variables_are_made_under_the_callers_strategy(teacher, tmp_path):
    teacher.save(tmp_path / "teacher")
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        mirrored = teachers.load(tmp_path / "teacher")
    assert all(
        isinstance(weight.value, tf.distribute.DistributedValues) for weight in mirrored.weights
    )
    values = strategy.run(mirrored, args=(tf.constant(images()),))
    np.testing.assert_allclose(values, teacher(images()), rtol=1e-4, atol=1e-4)


def test_the_error_of_the_invariance_is_that_of_rounding_or_of_a_mistake(teacher):
    assert teacher.invariance_error(images()) < 1e-5
    wrong = type(teacher)("x", teacher.backbone, teacher.head)
    wrong.head = keras.Sequential([*teacher.head.layers[:-2], keras.layers.Dense(256)])
    assert wrong.invariance_error(images()) > 0.1


def test_without_a_head_the_embedding_is_the_map(teacher):
    head = keras.Sequential([keras.Input((512,)), keras.layers.Identity()])
    bare = type(teacher)("bare", teacher.backbone, head)
    assert (bare.embedding_dim, bare.hidden_units, bare.student_layers) == (512, 1024, 2)
    np.testing.assert_array_equal(bare(images()), teacher.backbone(images()))
    assert bare.invariance_error(images()) < 1e-6


def test_a_backbone_without_a_map_is_refused(teacher):
    inputs = keras.Input((8, 8, 3))
    vector = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs), name="vector")
    with pytest.raises(
        ValueError, match=r"gives a map \(B, h, w, C\)\. Received: vector that gives"
    ):
        type(teacher)("x", vector, teacher.head)


def test_a_head_for_other_channels_is_refused(teacher):
    head = keras.Sequential([keras.Input((64,)), keras.layers.Dense(8)])
    with pytest.raises(ValueError, match="a backbone with 512, a head for 64"):
        type(teacher)("x", teacher.backbone, head)


@pytest.mark.parametrize("std", [(1.0, 2.0), (1.0, 0.0, 1.0), (1.0, float("nan"), 1.0)])
def test_a_normalisation_that_is_none_is_refused(teacher, std):
    with pytest.raises(ValueError, match=r"a std of three finite numbers above 0\.0"):
        type(teacher)("x", teacher.backbone, teacher.head, std=std)


def images():
    return np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype("float32")


def randomised(teacher):
    """Batch statistics and scales far from neutral, so that each of them counts."""
    random = np.random.default_rng(0)
    for weight in teacher.weights:
        if weight.name in ("moving_variance", "gamma"):
            weight.assign(random.uniform(0.5, 1.5, weight.shape))
        elif weight.name in ("moving_mean", "beta"):
            weight.assign(random.normal(0.0, 0.2, weight.shape))
    return teacher
