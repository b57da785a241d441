"""Small networks of every family of students, in the formats that write a graph."""

import dataclasses
import functools

import keras_hub
import numpy as np
import pytest

from export import _verify, keras_hub_preset, litert
from export import onnx as onnx_format
from pcd_tf.backbones.vit import VisionTransformer
from pcd_tf.students._depthwise import use_depthwise_kernels


def vit():
    return VisionTransformer(
        8, num_layers=1, num_heads=2, hidden_dim=16, mlp_dim=32, image_size=32, name="vit"
    )


def mobilenet():
    network = keras_hub.models.MobileNetBackbone(
        stackwise_num_blocks=[1, 1],
        stackwise_expansion=[[24], [48]],
        stackwise_num_filters=[[16], [24]],
        stackwise_kernel_size=[[3], [5]],
        stackwise_num_strides=[[2], [2]],
        stackwise_se_ratio=[[None], [0.25]],
        stackwise_activation=[["relu"], ["hard_swish"]],
        stackwise_padding=[[1], [2]],
        input_num_filters=16,
        depthwise_filters=8,
        depthwise_stride=2,
        depthwise_residual=False,
        squeeze_and_excite=0.5,
        last_layer_filter=144,
        output_num_filters=None,
        image_shape=(None, None, 3),
        name="mobilenet",
    )
    use_depthwise_kernels(network)
    return network


def efficientnet():
    return keras_hub.models.EfficientNetBackbone(
        stackwise_kernel_sizes=[3, 5],
        stackwise_num_repeats=[1, 1],
        stackwise_input_filters=[16, 16],
        stackwise_output_filters=[16, 24],
        stackwise_expansion_ratios=[1, 4],
        stackwise_strides=[2, 2],
        stackwise_squeeze_and_excite_ratios=[0.25, 0.25],
        stackwise_width_coefficients=[1.0, 1.0],
        stackwise_depth_coefficients=[1.0, 1.0],
        stackwise_block_types=["v1", "v1"],
        dropout=0.0,
        min_depth=None,
        use_depth_divisor_as_min_depth=True,
        cap_round_filter_decrease=True,
        input_shape=(None, None, 3),
        name="efficientnet",
    )


@pytest.fixture(scope="module")
def order_of(order):
    """Makes an order for a student whose every weight and statistic is random."""

    @functools.cache
    def make(kind):
        network = kind()
        random = np.random.default_rng(0)
        for weight in network.weights:
            if weight.name in ("gamma", "moving_variance"):
                weight.assign(random.uniform(0.5, 1.5, weight.shape))
            elif weight.name in ("beta", "bias", "moving_mean"):
                weight.assign(random.normal(0.0, 0.2, weight.shape))
        student = dataclasses.replace(order.student, backbone=network, image_size=64)
        return dataclasses.replace(order, student=student)

    return make


def error_of(chosen, wanted, directory):
    chosen.write(wanted, directory)
    return _verify.check(wanted, chosen.entrances(wanted, directory), _verify.Bound())


@pytest.mark.parametrize("kind", [vit, mobilenet, efficientnet])
def test_onnx_takes_any_size(kind, order_of, tmp_path):
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    pytest.importorskip("tf2onnx", reason="tf2onnx is not installed")
    report = error_of(onnx_format, order_of(kind), tmp_path)
    assert report.error < 1e-5
    assert [len(sizes) for sizes in report.sizes.values()] == [2]


@pytest.mark.parametrize("kind", [vit, mobilenet])
def test_litert(kind, order_of, tmp_path):
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed")
    fixed = dataclasses.replace(order_of(kind), batch_size=1, height=64, width=64)
    assert error_of(litert, fixed, tmp_path).error < 1e-5


@pytest.mark.parametrize("kind", [vit, mobilenet, efficientnet])
def test_keras_hub_preset(kind, order_of, tmp_path):
    assert error_of(keras_hub_preset, order_of(kind), tmp_path).error < 1e-5


@pytest.mark.parametrize(("kind", "lacks"), [(vit, False), (mobilenet, True)])
def test_the_remedy_for_a_preset_without_a_pyramid_is_told(kind, lacks, order_of, tmp_path, capsys):
    keras_hub_preset.write(order_of(kind), tmp_path)
    assert ("MobileNetBackbone has no pyramid_outputs" in capsys.readouterr().out) == lacks


def test_only_what_keras_hub_knows_becomes_a_preset(tiny, tmp_path):
    with pytest.raises(ValueError, match="backbone of KerasHub.*Received: mine, a Functional"):
        keras_hub_preset.write(tiny, tmp_path)
