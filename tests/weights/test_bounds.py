"""A small file that asks for much memory is refused before it gets any."""

import zipfile

import h5py
import keras
import numpy as np
import pytest

from pcd_tf.errors import UserError
from pcd_tf.weights import bounds


@pytest.fixture
def file(tmp_path):
    images = keras.Input((None, None, 3))
    model = keras.Model(images, keras.layers.Conv2D(77, 3)(images))
    model.save(tmp_path / "toy.keras")
    return tmp_path / "toy.keras"


def rewrite(file, change):
    """Writes the archive again, its members changed: name -> content -> content."""
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, change.get(name, lambda same: same)(content))


def empty_arrays(path):
    """HDF5 that declares 160 GB and stores none of it."""
    with h5py.File(path, "w") as opened:
        opened.create_dataset("a", shape=(200_000, 200_000), dtype="f4", chunks=(1000, 1000))


def test_a_model_as_keras_saved_it_passes(file):
    bounds.check_keras(file)
    rewrite(file, {})
    bounds.check_keras(file)


def test_a_network_larger_than_its_weights_allow_is_refused(file):
    widen = {"config.json": lambda x: x.replace(b'"filters": 77', b'"filters": 2000000000')}
    rewrite(file, widen)
    with pytest.raises(ValueError, match=r"toy\.keras, of which the network would take 205,994 M"):
        bounds.check_keras(file)
    # What was counted waits for no values: the next scope to end would make them.
    with keras.StatelessScope():
        pass


def test_arrays_larger_than_their_file_allows_are_refused(file, tmp_path):
    empty_arrays(tmp_path / "x.weights.h5")
    with pytest.raises(ValueError, match=r"x\.weights\.h5, of which the arrays would take 152,588"):
        bounds.check_h5(tmp_path / "x.weights.h5")
    content = (tmp_path / "x.weights.h5").read_bytes()
    rewrite(file, {"model.weights.h5": lambda _: content})
    with pytest.raises(ValueError, match=r"toy\.keras, of which the arrays would take 152,588 MiB"):
        bounds.check_keras(file)


def test_an_archive_larger_than_its_file_allows_is_refused(file):
    rewrite(file, {"model.weights.h5": lambda _: bytes(2**28)})
    with pytest.raises(ValueError, match=r"the unpacked archive would take 256 MiB"):
        bounds.check_keras(file)


@pytest.mark.parametrize("content", [b"[1]", b"{", b"[" * 100_000])
def test_a_configuration_that_is_none_is_refused(file, content):
    rewrite(file, {"config.json": lambda _: content})
    with pytest.raises(ValueError, match=r"a model's configuration. Received: config\.json in .*"):
        bounds.check_keras(file)


def test_a_network_of_layers_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(bounds, "_OF_A_LAYER", 2**22)  # so that the end comes sooner

    def build():
        x = inputs = keras.Input((1,))
        for _ in range(10**6):
            x = keras.layers.Dense(1, use_bias=False)(x)
        return keras.Model(inputs, x)

    with pytest.raises(ValueError, match="of which the network would take 256 MiB or more"):
        bounds.check_network(build, tmp_path)


def test_the_count_leaves_no_trace(tmp_path):
    """Layers that Keras numbers get the numbers that they would have had."""
    keras.utils.clear_session()
    bounds.check_network(lambda: keras.Sequential([keras.layers.Dense(2)]), tmp_path)
    assert keras.layers.Dense(2).name == "dense"


def test_a_layer_of_the_users_own_may_make_variables_of_arrays(tmp_path):
    class Scaled(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.scale = keras.Variable(np.ones(3))

    bounds.check_network(lambda: keras.Sequential([keras.Input((3,)), Scaled()]), tmp_path)


def test_a_layer_of_keras_that_makes_variables_of_arrays_does_not_end_the_count(tmp_path):
    """What stands behind a stateful LSTM would be counted no more."""
    inputs = keras.Input((2, 3), batch_size=1)
    states = keras.layers.LSTM(4, stateful=True)(inputs)
    keras.Model(inputs, keras.layers.Dense(77)(states)).save(tmp_path / "toy.keras")
    rewrite(
        tmp_path / "toy.keras",
        {"config.json": lambda x: x.replace(b'"units": 77', b'"units": 2000000000')},
    )
    with pytest.raises(
        UserError, match=r"toy\.keras, in which keras makes one of values: for a st"
    ):
        bounds.check_keras(tmp_path / "toy.keras")


def test_a_compiled_model_passes_and_is_counted(file):
    model = keras.saving.load_model(file)
    model.compile("adam", "mse")
    model.save(file)
    bounds.check_keras(file)
    widen = {"config.json": lambda x: x.replace(b'"filters": 77', b'"filters": 2000000000')}
    rewrite(file, widen)
    with pytest.raises(UserError, match="of which the network would take"):
        bounds.check_keras(file)


def test_what_building_raises_is_passed_on_and_custom_objects_are_known(tmp_path):
    class Own(keras.layers.Dense):
        pass

    config = keras.saving.serialize_keras_object(Own(3))

    def build():
        return keras.saving.deserialize_keras_object(config)

    with pytest.raises(TypeError, match="Could not locate class 'Own'"):
        bounds.check_network(build, tmp_path)
    with keras.saving.custom_object_scope({"Own": Own}):
        bounds.check_network(build, tmp_path)
