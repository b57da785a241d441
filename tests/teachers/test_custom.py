"""Any model as a teacher: which part is the map, which the head, and what is refused."""

import json
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from pcd_tf import teachers
from pcd_tf.layers import ProjectionHead
from pcd_tf.models import Distiller
from tests import toys

SIZE = 32
AS_IT_IS = {"mean": (0, 0, 0), "std": (1, 1, 1)}


def images(number=2, size=SIZE, seed=0):
    return np.random.default_rng(seed).uniform(0, 255, (number, size, size, 3)).astype("float32")


def encoder(*head, pool=None, **kwargs):
    """A toy backbone, the mean over its pixels, and layers of a head."""
    parts = [toys.backbone(8), pool or layers.GlobalAveragePooling2D(name="pool"), *head]
    model = keras.Sequential([keras.Input((None, None, 3)), *parts], **kwargs)
    toys.scramble(model.weights, 1)
    return model


def mlp():
    return [
        layers.Dense(16, activation="relu", name="first"),
        layers.Dropout(0.5),
        layers.BatchNormalization(name="norm"),
        layers.Activation("gelu", name="gelu"),
        layers.Dense(6, name="last"),
    ]


def save(model, folder, name="model.keras"):
    model.save(folder / name)
    return folder / name


def custom(path, **options):
    return teachers.convert("custom", path, **options)


def assert_is_the_models(teacher, model):
    """The mean over the teacher's pixels is what the model computes."""
    normalised = (images() - np.array(teacher.mean)) / np.array(teacher.std)
    expected = np.array(model(normalised, training=False))
    received = ops.mean(teacher(normalised), axis=(1, 2))
    np.testing.assert_allclose(received, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


# A .keras file


def test_a_model_whose_output_is_a_map_is_used_as_it_is(tmp_path):
    model = toys.backbone(8)
    toys.scramble(model.weights, 0)
    teacher = custom(save(model, tmp_path), **AS_IT_IS)
    np.testing.assert_allclose(teacher(images()), model(images(), training=False), rtol=1e-5)
    assert (teacher.name, teacher.embedding_dim, teacher.hidden_units) == ("custom", 8, 16)
    assert (teacher.mean, teacher.std) == ((0, 0, 0), (1, 1, 1))
    assert not any(weight.trainable for weight in teacher.weights)
    assert teacher.origin == "model.keras"


def test_images_are_normalised_as_imagenets_by_default(tmp_path):
    teacher = custom(save(toys.backbone(8), tmp_path))
    assert teacher.mean == (123.675, 116.28, 103.53)
    assert teacher.std == (58.395, 57.12, 57.375)


def test_a_layer_can_be_named_as_the_map(tmp_path):
    model = toys.backbone(8)
    inner = model.layers[3]  # the first ReLU
    teacher = custom(save(model, tmp_path), feature_map=inner.name)
    expected = keras.Model(model.input, inner.output)(images())
    np.testing.assert_allclose(teacher(images()), expected, rtol=1e-5)
    assert teacher.origin == f"model.keras, map {inner.name}"


def test_a_head_is_the_chain_from_a_layer_to_the_output(tmp_path):
    model = encoder(*mlp())
    teacher = custom(save(model, tmp_path), head="first")
    assert [layer.name for layer in teacher.head.layers] == ["first", "norm", "gelu", "last"]
    assert (teacher.hidden_units, teacher.embedding_dim) == (16, 6)
    assert_is_the_models(teacher, model)


def nested_head(kind):
    if kind == "projection":
        return ProjectionHead(16, 6, last_norm=True, name="head")
    if kind == "sequential":
        return keras.Sequential([keras.Input((8,)), *mlp()], name="head")
    vectors = x = keras.Input((8,))
    for layer in mlp():
        x = layer(x)
    return keras.Model(vectors, x, name="head")


@pytest.mark.parametrize("kind", ["projection", "sequential", "functional"])
def test_a_nested_model_is_the_head_and_what_follows_it_is_not(kind, tmp_path):
    inputs = keras.Input((SIZE, SIZE, 3))
    feature_map = toys.backbone(8)(inputs)
    vectors = nested_head(kind)(layers.Dropout(0.1)(ops.mean(feature_map, axis=(1, 2))))
    whole = keras.Model(inputs, layers.Dense(3, activation="softmax")(vectors))
    toys.scramble(whole.weights, 2)
    teacher = custom(save(whole, tmp_path), head="head", **AS_IT_IS)
    assert_is_the_models(teacher, keras.Model(inputs, vectors))
    assert teacher.embedding_dim == 6


@pytest.mark.parametrize(
    "between",
    [
        [layers.GlobalAveragePooling2D(name="pool"), layers.Dropout(0.1)],
        [layers.GlobalAveragePooling2D(keepdims=True), layers.Flatten()],
    ],
)
def test_the_map_is_what_is_averaged_in_front_of_the_head(between, tmp_path):
    network = keras.Sequential([keras.Input((SIZE, SIZE, 3)), toys.backbone(8), *between, *mlp()])
    toys.scramble(network.weights, 0)
    assert_is_the_models(custom(save(network, tmp_path), head="first"), network)


def test_normalisation_inside_the_model_is_kept(tmp_path):
    inside = [layers.Rescaling(1 / 50, offset=-2.0), toys.backbone(8)]
    model = keras.Sequential([keras.Input((None, None, 3)), *inside])
    teacher = custom(save(model, tmp_path), **AS_IT_IS)
    np.testing.assert_allclose(teacher(images()), model(images(), training=False), rtol=1e-5)


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_it_comes_back_from_a_teachers_directory(precision, tmp_path):
    teacher = custom(save(encoder(*mlp()), tmp_path), head="first", mean=(1, 2, 3))
    teacher.save(tmp_path / "teacher")
    keras.config.set_dtype_policy(precision)
    again = teachers.load(tmp_path / "teacher", "custom")
    assert (again.mean, again.origin) == ((1, 2, 3), "model.keras, head first")
    assert again.fingerprint() == teacher.fingerprint()
    expected, received = np.array(teacher(images())), np.array(again(images()))
    close = 1e-6 if precision == "float32" else 0.05
    assert np.linalg.norm(received - expected) <= close * np.linalg.norm(expected)


def test_two_heads_or_a_classifier_say_what_can_be_named(tmp_path):
    with pytest.raises(
        ValueError,
        match=r"Expected the model's output to be a map.* shape \(None, 6\) of 'last'. Name a map "
        r"by --teacher_map \(.*toy\) and.* by --teacher_head \(pool, first.*, last\)",
    ):
        custom(save(encoder(*mlp()), tmp_path))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head": "frist"}, "such as pool, first, .*'frist'. Did you mean 'first'?"),
        ({"feature_map": "toi"}, "such as .*toy. Received: 'toi'. Did you mean 'toy'?"),
        ({"feature_map": "last"}, r"the map to be .*shape \(None, 6\) of 'last'"),
        (
            {"head": "toy"},
            r"Expected a head that takes vectors .*'toy', which takes \(None, 32, 32",
        ),
        (
            {"head": "norm"},
            "the mean over all pixels.*'first', a Dense, in front of 'norm'",
        ),
        ({"head": "first", "feature_map": "other"}, "output of 'toy'. Received: 'other'"),
    ],
)
def test_a_wrong_name_is_answered_with_the_right_ones(options, message, tmp_path):
    inputs = keras.Input((SIZE, SIZE, 3))
    x = layers.Conv2D(3, 1, name="other")(inputs)
    x = layers.GlobalAveragePooling2D(name="pool")(toys.backbone(8)(x))
    for layer in mlp():
        x = layer(x)
    with pytest.raises(ValueError, match=message):
        custom(save(keras.Model(inputs, x), tmp_path), **options)


def test_another_pooling_than_the_mean_is_refused(tmp_path):
    model = encoder(*mlp(), pool=layers.GlobalMaxPooling2D(name="pool"))
    with pytest.raises(ValueError, match="Received: 'pool', a GlobalMaxPooling2D, in front of 'fi"):
        custom(save(model, tmp_path), head="first")


def test_a_head_without_exact_form_is_refused(tmp_path):
    model = encoder(layers.Dense(4, activation="softplus", name="first"))
    with pytest.raises(ValueError, match="no exact form of layer 'first'"):
        custom(save(model, tmp_path), head="first")


def test_a_head_with_branches_is_refused(tmp_path):
    inputs = keras.Input((SIZE, SIZE, 3))
    x = layers.GlobalAveragePooling2D()(toys.backbone(8)(inputs))
    x = layers.Dense(6, name="first")(x)
    model = keras.Model(inputs, layers.Add()([x, layers.Dense(6)(x)]))
    with pytest.raises(ValueError, match="one chain of layers .* branches at 'first'"):
        custom(save(model, tmp_path), head="first")
    vectors = keras.Input((8,))
    hidden = layers.Dense(6)(vectors)
    branched = keras.Model(vectors, layers.Add()([hidden, layers.Dense(6)(hidden)]), name="head")
    with pytest.raises(ValueError, match="without branches. Received: 'head'"):
        custom(save(encoder(branched), tmp_path), head="head")


def test_several_outputs_need_the_name_of_one(tmp_path):
    backbone = toys.backbone(8)
    outputs = {"pooled": layers.GlobalAveragePooling2D(name="pool")(backbone.output)}
    model = keras.Model(backbone.input, {"map": backbone.output, **outputs})
    last = backbone.layers[-1].name
    path = save(model, tmp_path)
    with pytest.raises(ValueError, match=f"a model of 2 outputs, of {last}, pool"):
        custom(path)
    assert custom(path, feature_map=last)(images()).shape == (2, 4, 4, 8)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent.keras", "absent.keras, which does not exist"),
        ("folder", "is no directory of a SavedModel"),
        ("model.h5", r"save the model again, model.save\('FILE.keras'\)"),
        ("short.keras", "short.keras, which is no .keras file or is damaged"),
    ],
)
def test_what_is_no_model_is_refused_in_one_line(name, message, tmp_path):
    path = save(toys.backbone(8), tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "model.h5").write_bytes(b"x")
    (tmp_path / "short.keras").write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match=message) as caught:
        custom(tmp_path / name)
    assert "\n" not in str(caught.value)


# A SavedModel


def export(folder, spec=((None, None, None, 3), "float32"), *, several=True, hidden=False):
    """A SavedModel of the toy: a map, and where asked the vector of its means."""
    network = toys.backbone(8)
    toys.scramble(network.weights, 0)
    shape, dtype = spec

    @tf.function(input_signature=[tf.TensorSpec(shape, dtype, name="pictures")])
    def serve(pictures):
        maps = network(tf.cast(pictures, tf.float32) / 50.0, training=False)
        if hidden:  # the size of the map is not to be told from the graph
            maps = tf.raw_ops.PlaceholderWithDefault(input=maps, shape=(None, None, None, 8))
        return {"map": maps, "mean": tf.reduce_mean(maps, (1, 2))} if several else {"map": maps}

    module = tf.Module()
    module.network = network
    tf.saved_model.save(module, str(folder), signatures={"serving_default": serve})
    return lambda x: np.array(network(x / 50.0, training=False))


def test_an_output_of_a_saved_model_is_the_map(tmp_path):
    expected = export(tmp_path / "exported")
    teacher = custom(tmp_path / "exported", feature_map="map", **AS_IT_IS)
    np.testing.assert_allclose(teacher(images()), expected(images()), rtol=1e-5, atol=1e-5)
    assert (teacher.name, teacher.embedding_dim, teacher.hidden_units) == ("custom", 8, 16)
    assert not teacher.weights  # none that could be trained


def test_its_only_output_needs_no_name(tmp_path):
    expected = export(tmp_path / "exported", several=False)
    teacher = custom(tmp_path / "exported")
    assert teacher.mean == (123.675, 116.28, 103.53)
    np.testing.assert_allclose(teacher(images()), expected(images()), rtol=1e-5, atol=1e-5)


def test_what_keras_exports_is_taken(tmp_path):
    network = toys.backbone(8)
    toys.scramble(network.weights, 0)
    network.export(tmp_path / "exported", format="tf_saved_model", verbose=False)
    teacher = custom(tmp_path / "exported")
    np.testing.assert_allclose(teacher(images()), network(images(), training=False), rtol=1e-5)


def test_one_that_takes_whole_numbers_gets_pixels(tmp_path):
    expected = export(tmp_path / "exported", ((None, SIZE, SIZE, 3), "uint8"))
    teacher = custom(tmp_path / "exported", feature_map="map")
    assert (teacher.mean, teacher.std) == ((0, 0, 0), (1, 1, 1))
    rounded = np.round(images())
    np.testing.assert_allclose(teacher(images()), expected(rounded), rtol=1e-5, atol=1e-5)


def test_a_teachers_directory_holds_a_copy(tmp_path):
    export(tmp_path / "exported")
    teacher = custom(tmp_path / "exported", feature_map="map", **AS_IT_IS)
    expected, fingerprint = np.array(teacher(images())), teacher.fingerprint()
    teacher.save(tmp_path / "teacher")
    (tmp_path / "exported").rename(tmp_path / "elsewhere")
    (tmp_path / "teacher").rename(tmp_path / "moved")
    again = teachers.load(tmp_path / "moved", "custom")
    np.testing.assert_array_equal(again(images()), expected)
    assert again.fingerprint() == fingerprint
    again.save(tmp_path / "copy")
    assert teachers.load(tmp_path / "copy").fingerprint() == fingerprint
    export(tmp_path / "other", several=False)
    assert custom(tmp_path / "other").fingerprint() != fingerprint


def test_a_directory_without_its_copy_is_refused(tmp_path):
    export(tmp_path / "exported", several=False)
    custom(tmp_path / "exported").save(tmp_path / "teacher")
    (tmp_path / "teacher" / "saved_model" / "saved_model.pb").unlink()
    with pytest.raises(ValueError, match=r"saved_model\.pb to have the SHA-256 that.*no such file"):
        teachers.load(tmp_path / "teacher")


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (None, r"the name of an output .*'map': \(None, None, None, 8\).* Received: no name"),
        ("nap", "Received: 'nap'. Did you mean 'map'?"),
        ("mean", r"Expected a map .*whose output mean is of shape \(None, 8\)"),
    ],
)
def test_a_wrong_output_is_answered_with_the_right_ones(output, message, tmp_path):
    export(tmp_path / "exported")
    with pytest.raises(ValueError, match=message):
        custom(tmp_path / "exported", feature_map=output)


def test_a_signature_of_another_kind_is_refused(tmp_path):
    export(tmp_path / "exported", ((1, SIZE, SIZE, 3), "float32"), several=False)
    with pytest.raises(ValueError, match=r"B free. Received: .*'pictures': \(1, 32, 32, 3\)"):
        custom(tmp_path / "exported")
    tf.saved_model.save(tf.Module(), str(tmp_path / "empty"))
    with pytest.raises(ValueError, match="Expected a SavedModel with the signature serving_defau"):
        custom(tmp_path / "empty")


def test_a_saved_model_has_no_layer_to_be_the_head(tmp_path):
    export(tmp_path / "exported")
    with pytest.raises(ValueError, match="Expected no --teacher_head for a SavedModel"):
        custom(tmp_path / "exported", feature_map="map", head="first")


# In training


@pytest.mark.parametrize("form", ["keras", "saved_model"])
def test_it_runs_in_a_compiled_step_of_two_replicas(form, two_replicas, tmp_path):
    export(tmp_path / "exported")
    path = save(encoder(*mlp()), tmp_path) if form == "keras" else tmp_path / "exported"
    options = {"head": "first"} if form == "keras" else {"feature_map": "map"}
    expected = custom(path, **options)(images())
    with two_replicas.scope():
        teacher = custom(path, **options)
    step = tf.function(lambda x: two_replicas.run(teacher, args=(x,)))
    for received in two_replicas.experimental_local_results(step(tf.constant(images()))):
        np.testing.assert_allclose(received, expected, rtol=1e-4, atol=1e-4)


def test_two_replicas_distil_from_a_saved_model_that_hides_its_map_size(two_replicas, tmp_path):
    export(tmp_path / "exported", hidden=True)
    with two_replicas.scope():
        teacher = custom(tmp_path / "exported", feature_map="map")
        model = Distiller(teacher, toys.backbone(8, stride=12), queue_size=16, map_size="teacher")
        model.compile("sgd")
    assert model.map_sizes(SIZE) == {"student": (3, 3), "teacher": (4, 4)}
    history = model.fit(toys.batches(4), steps_per_epoch=1, shuffle=False, verbose=0)
    assert np.isfinite(history.history["loss"]).all()


def test_an_image_size_that_a_saved_model_does_not_take_is_refused(tmp_path):
    export(tmp_path / "exported", ((None, 64, 64, 3), "float32"), several=False)
    model = Distiller(custom(tmp_path / "exported"), toys.backbone(8), queue_size=16)
    assert model.map_sizes(64) == {"student": (8, 8), "teacher": (8, 8)}
    with pytest.raises(ValueError, match="32 pixels, which the teacher refuses .* fit: 64.$"):
        model.map_sizes(32)


def test_a_keras_file_cannot_have_a_saved_model_loaded(tmp_path):
    part = {
        "module": "pcd_tf.teachers._saved_model",
        "class_name": "SavedModel",
        "config": {"path": str(tmp_path), "output": "map"},
        "registered_name": "pcd_tf>SavedModel",
    }
    path = save(toys.backbone(8), tmp_path)
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    files["config.json"] = json.dumps(part).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    with pytest.raises(ValueError, match="classes that Keras knows.*with the class 'SavedModel'"):
        custom(path)


def test_a_saved_model_that_was_cut_short_is_refused_in_one_line(tmp_path):
    toys.backbone(8).export(tmp_path / "model", verbose=False)
    (weights,) = (tmp_path / "model" / "variables").glob("variables.data*")
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ValueError, match="Expected a SavedModel .* does not load") as caught:
        custom(tmp_path / "model")
    assert "\n" not in str(caught.value)


def test_two_poolings_in_front_of_the_head_are_refused(tmp_path):
    maps = (network := toys.backbone(8)).output
    pooled = [layers.GlobalAveragePooling2D()(maps), layers.GlobalMaxPooling2D()(maps)]
    vectors = layers.Dense(4, name="head")(layers.Concatenate(name="both")(pooled))
    path = save(keras.Model(network.input, vectors), tmp_path)
    with pytest.raises(ValueError, match="Expected the mean over all pixels .* 'both'"):
        custom(path, head="head")


def test_a_head_tells_the_map_of_a_model_of_several_outputs(tmp_path):
    maps = (network := toys.backbone(8)).output
    pooled = layers.GlobalAveragePooling2D()(maps)
    vectors = layers.Dense(4, name="head")(pooled)
    path = save(keras.Model(network.input, {"map": maps, "embedding": vectors}), tmp_path)
    assert custom(path, head="head").embedding_dim == 4
