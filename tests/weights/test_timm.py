"""timm's names: every array finds its place, and comes back from there."""

import numpy as np
import pytest

from pcd_tf.backbones.vit import VisionTransformer
from pcd_tf.weights import arrays, timm


@pytest.fixture(scope="module")
def vit():
    return VisionTransformer(8, 2, 2, 16, 24, image_size=32)


def drawn(vit):
    random = np.random.default_rng(0)
    return {
        name: random.normal(size=shape).astype("float32")
        for name, shape in timm.shapes(vit).items()
    }


def test_names_and_shapes_are_timms(vit):
    block = {
        "norm1.weight": (16,),
        "norm1.bias": (16,),
        "attn.qkv.weight": (48, 16),
        "attn.qkv.bias": (48,),
        "attn.proj.weight": (16, 16),
        "attn.proj.bias": (16,),
        "norm2.weight": (16,),
        "norm2.bias": (16,),
        "mlp.fc1.weight": (24, 16),
        "mlp.fc1.bias": (24,),
        "mlp.fc2.weight": (16, 24),
        "mlp.fc2.bias": (16,),
    }
    assert timm.shapes(vit) == {
        "cls_token": (1, 1, 16),
        "pos_embed": (1, 17, 16),
        "patch_embed.proj.weight": (16, 3, 8, 8),
        "patch_embed.proj.bias": (16,),
        **{f"blocks.0.{name}": shape for name, shape in block.items()},
        **{f"blocks.1.{name}": shape for name, shape in block.items()},
        "norm.weight": (16,),
        "norm.bias": (16,),
    }


def test_every_variable_is_filled_and_comes_back(vit):
    state = drawn(vit)
    converted = timm.to_keras(state, vit)
    arrays.assign(arrays.variables(vit), converted, origin="the test")
    back = timm.from_keras(vit)
    assert list(back) == list(timm.shapes(vit))
    for name, array in state.items():
        np.testing.assert_array_equal(back[name], array, err_msg=name)


def test_queries_keys_and_values_are_thirds_and_heads_are_runs_of_channels(vit):
    state = drawn(vit)
    converted = timm.to_keras(state, vit)
    weight, bias = state["blocks.1.attn.qkv.weight"], state["blocks.1.attn.qkv.bias"]
    for third, kind in enumerate(("query", "key", "value")):
        layer = f"vit_encoder/transformer_block_2/mha/{kind}"
        for head in range(2):
            rows = slice(16 * third + 8 * head, 16 * third + 8 * head + 8)
            np.testing.assert_array_equal(converted[f"{layer}/kernel"][:, head], weight[rows].T)
            np.testing.assert_array_equal(converted[f"{layer}/bias"][head], bias[rows])
    output = converted["vit_encoder/transformer_block_2/mha/attention_output/kernel"]
    expected = state["blocks.1.attn.proj.weight"][:, 8:]  # what the second head goes through
    np.testing.assert_array_equal(output[1], expected.T)


def test_the_classifier_is_left_out_and_the_rest_is_left_to_the_caller(vit):
    state = drawn(vit)
    more = {"head.weight": np.zeros((10, 16)), "head.bias": np.zeros(10)}
    assert timm.to_keras(state | more, vit).keys() == arrays.variables(vit).keys()
    del state["norm.bias"]
    converted = timm.to_keras(state | {"blocks.2.norm1.bias": np.zeros(16)}, vit)
    with pytest.raises(ValueError, match=r"missing: vit_encoder/ln/beta; left over: blocks\.2\."):
        arrays.assign(arrays.variables(vit), converted, origin="the test")


def test_arrays_of_another_shape_are_refused_with_both_shapes(vit):
    state = drawn(vit)
    state["blocks.0.attn.qkv.weight"] = state["blocks.0.attn.qkv.weight"].T
    state["pos_embed"] = np.zeros((1, 5, 16))
    message = (
        r"2 arrays of another shape.*pos_embed \(expected \(1, 17, 16\), received \(1, 5, 16\)\), "
        r"blocks\.0\.attn\.qkv\.weight \(expected \(48, 16\), received \(16, 48\)\)"
    )
    with pytest.raises(ValueError, match=message):
        timm.to_keras(state, vit)
