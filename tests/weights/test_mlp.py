"""A PyTorch Sequential and a vector head: index for index, Linear transposed."""

import numpy as np
import pytest

from pcd_tf.teachers import _head
from pcd_tf.weights import arrays, mlp
from tests import goldens

NORM = ("weight", "bias", "running_mean", "running_var")


def test_names_are_those_of_pytorchs_sequential():
    head = _head.mlp(3, (4, 5, 6), biases=(True, False, False), last_norm=True)
    assert mlp.shapes(head) == {
        "0.weight": (4, 3),
        "0.bias": (4,),
        **{f"1.{kind}": (4,) for kind in NORM},
        "3.weight": (5, 4),
        **{f"4.{kind}": (5,) for kind in NORM},
        "6.weight": (6, 5),
        **{f"7.{kind}": (6,) for kind in NORM[2:]},  # no scale and shift
    }


def test_activations_count_where_there_is_no_norm():
    head = _head.mlp(3, (4, 5, 6), biases=(True,) * 3, norm=False, activation="gelu")
    assert [name for name in mlp.shapes(head) if "weight" in name] == [
        "0.weight",
        "2.weight",
        "4.weight",
    ]


def test_a_head_without_layers_needs_nothing():
    assert mlp.shapes(_head.none(8)) == {}
    assert mlp.to_keras({}, _head.none(8)) == {}


def test_every_array_lands_in_its_variable():
    head = _head.mlp(3, (4, 5), biases=(True, False))
    state = goldens.draw(mlp.shapes(head))
    arrays.assign(arrays.variables(head), mlp.to_keras(state, head), origin="the test")
    x = np.random.default_rng(0).normal(size=(2, 3)).astype("float32")
    y = x @ state["0.weight"].T + state["0.bias"]
    y = (y - state["1.running_mean"]) / np.sqrt(state["1.running_var"] + 1e-5)
    y = np.maximum(y * state["1.weight"] + state["1.bias"], 0)
    np.testing.assert_allclose(head(x), y @ state["3.weight"].T, rtol=1e-5, atol=1e-6)


def test_counters_are_left_out_and_strange_names_kept():
    head = _head.mlp(3, (4, 5))
    state = {
        "1.num_batches_tracked": np.array(7),
        "6.weight": np.zeros((5, 4)),
        "bn.bias": np.ones(2),
    }
    assert mlp.to_keras(state, head).keys() == {"6.weight", "bn.bias"}


@pytest.mark.parametrize("last_norm", [False, True])
def test_the_head_of_a_teacher_stands_as_in_pytorch(last_norm):
    head = _head.mlp(8, (16, 4), last_norm=last_norm)
    kinds = ["Dense", "BatchNormalization", "Activation", "Dense"]
    kinds += ["BatchNormalization"] if last_norm else []
    assert [type(layer).__name__ for layer in head.layers] == kinds
    norms = [layer for layer in head.layers if type(layer).__name__ == "BatchNormalization"]
    assert {(n.epsilon, n.momentum, n.synchronized) for n in norms} == {(1e-5, 0.9, True)}
