"""Named arrays: files, names, and the refusal of everything that does not fit."""

import os
import resource

import keras
import keras_hub
import numpy as np
import pytest

from pcd_tf import errors
from pcd_tf.weights import arrays


@pytest.fixture
def model():
    layers = [
        keras.Input((3,)),
        keras.layers.Dense(4, name="dense_0"),
        keras.layers.BatchNormalization(name="norm_0"),
    ]
    return keras.Sequential(layers, name="toy")


def test_a_file_gives_back_what_was_written(tmp_path):
    written = {"a/b": np.arange(6, dtype="float32").reshape(2, 3).T, "c": np.array(3, "int64")}
    arrays.write(tmp_path / "file.safetensors", written)
    received = arrays.read(tmp_path / "file.safetensors")
    assert received.keys() == written.keys()
    for name, array in written.items():
        np.testing.assert_array_equal(received[name], array)
        assert received[name].dtype == array.dtype


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"a file of weights. Received: .*x, which does not exist"):
        arrays.read(tmp_path / "x")


@pytest.mark.parametrize("kept", [0, 4, 60, -1])
def test_a_file_cut_short_is_refused(tmp_path, kept):
    path = tmp_path / "file.safetensors"
    arrays.write(path, {"a": np.zeros(100, "float32")})
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"whole safetensors file. Received: .*cut short"):
        arrays.read(path)


def test_a_full_disk_is_told_as_such(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            arrays.write(tmp_path / "file.safetensors", {"a": np.zeros(1000, "float32")})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "The disk is full" in (errors.explanation(caught.value) or "")


def test_variables_are_named_by_layer_and_variable(model):
    assert list(arrays.variables(model, "head/")) == [
        "head/dense_0/kernel",
        "head/dense_0/bias",
        "head/norm_0/gamma",
        "head/norm_0/beta",
        "head/norm_0/moving_mean",
        "head/norm_0/moving_variance",
    ]


def test_variables_of_a_model_in_a_model_carry_its_name(model):
    outer = keras.Sequential([keras.Input((3,)), model, keras.layers.Dense(1, name="last")])
    assert list(arrays.variables(outer))[-3:] == [
        "toy/norm_0/moving_variance",
        "last/kernel",
        "last/bias",
    ]


def composite(name):
    """A layer of layers, as KerasHub's encoders are: its parts have names only within it."""
    encoder = keras_hub.models.ViTBackbone((8, 8, 3), 8, 2, 2, 8, 16).get_layer("vit_encoder")
    tokens = keras.Input((None, 8))
    return keras.Model(tokens, encoder(tokens), name=name)


def test_variables_of_a_layer_of_layers_are_named_by_the_way_to_them():
    named = arrays.variables(composite("one"), "backbone/")
    assert len(named) == 2 * 16 + 2
    block = "backbone/vit_encoder/transformer_block_2/"
    assert {name.removeprefix(block) for name in named if name.startswith(block)} == {
        *(f"{layer}/{kind}" for layer in ("ln_1", "ln_2") for kind in ("gamma", "beta")),
        *(
            f"{layer}/{kind}"
            for layer in (
                *(f"mha/{part}" for part in ("query", "key", "value", "attention_output")),
                *("mlp/dense_1", "mlp/dense_2"),
            )
            for kind in ("kernel", "bias")
        ),
    }


def test_names_within_a_layer_do_not_depend_on_what_it_is_built_in():
    alone = arrays.variables(composite("one"))
    with keras.name_scope("outer"):
        inside = arrays.variables(composite("other"))
    assert list(alone) == list(inside)
    outer = keras.Sequential([keras.Input((None, 8)), composite("inner")])
    assert list(arrays.variables(outer)) == [f"inner/{name}" for name in alone]


def test_variables_that_would_share_a_name_are_refused():
    class Two(keras.layers.Layer):
        def build(self, input_shape):
            self.first, self.second = self.add_weight(name="w"), self.add_weight(name="w")

        def call(self, inputs):
            return inputs * self.first * self.second

    with pytest.raises(ValueError, match=r"variables have names of their own. Received: two with"):
        arrays.variables(keras.Sequential([keras.Input((3,)), Two(name="two")]))


def test_assign_sets_every_variable(model):
    state = random_state(model)
    arrays.assign(arrays.variables(model), state, origin="the test")
    for name, array in arrays.values(arrays.variables(model)).items():
        np.testing.assert_array_equal(array, state[name])


def missing(state):
    del state["dense_0/bias"]


def left_over(state):
    state["dense_1/bias"] = np.zeros(4)


def of_another_shape(state):
    state["dense_0/kernel"] = state["dense_0/kernel"].T


def not_finite(state):
    state["norm_0/gamma"][1] = np.nan


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (missing, "missing: dense_0/bias"),
        (left_over, "left over: dense_1/bias"),
        (
            of_another_shape,
            r"of another shape: dense_0/kernel \(expected \(3, 4\), received \(4, 3\)\)",
        ),
        (not_finite, "not finite: norm_0/gamma"),
    ],
)
def test_assign_refuses_what_does_not_fit_and_sets_nothing(model, spoil, message):
    before = arrays.values(arrays.variables(model))
    state = random_state(model)
    spoil(state)
    with pytest.raises(
        ValueError, match=rf"Expected the 6 arrays.*a file with.*{message}.*Nothing"
    ):
        arrays.assign(arrays.variables(model), state, origin="a file")
    for name, array in arrays.values(arrays.variables(model)).items():
        np.testing.assert_array_equal(array, before[name])


def test_assign_lists_all_that_is_wrong_at_once_and_no_more_than_ten_of_a_kind(model):
    state = {f"extra{i:02}": np.zeros(1) for i in range(12)}
    with pytest.raises(
        ValueError, match=r"missing: dense_0/bias, .*; left over: .*extra09 and 2 more\."
    ):
        arrays.assign(arrays.variables(model), state, origin="a file")


def random_state(model):
    random = np.random.default_rng(0)
    return {
        name: random.normal(size=variable.shape).astype("float32")
        for name, variable in arrays.variables(model).items()
    }


def test_others_may_read_what_the_user_s_umask_lets_them(tmp_path):
    earlier = os.umask(0o022)
    try:
        arrays.write(tmp_path / "weights.safetensors", {"a": np.zeros(3)})
    finally:
        os.umask(earlier)
    assert (tmp_path / "weights.safetensors").stat().st_mode & 0o777 == 0o644
