"""MobileNetV3 and EfficientNet-B0 are the published networks: sizes, layout, computation."""

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from pcd_tf import students
from pcd_tf.models import Distiller
from pcd_tf.students._mobilenet_v3 import Row, mobilenet_v3
from pcd_tf.weights import arrays
from tests import toys

# torchvision's published totals without what follows the last convolution's pooling.
PARAMETERS = {
    "mobilenet_v3_large": 5_483_032 - (961 * 1280 + 1281 * 1000),
    "mobilenet_v3_small": 2_542_856 - (577 * 1024 + 1025 * 1000),
    "efficientnet_b0": 5_288_548 - 1281 * 1000,
}
# The block, and so the map's channels, that ends each level: the papers' tables.
CHANNELS = {
    "mobilenet_v3_large": (24, 40, 112, 960),
    "mobilenet_v3_small": (16, 24, 48, 576),
    "efficientnet_b0": (24, 40, 112, 1280),
}
# kernel, expansion, squeeze-and-excite, hard swish, stride: torchvision's and timm's settings.
BLOCKS = {
    "mobilenet_v3_small": {
        "block_1_0": (3, False, False, 2),
        "block_1_1": (3, False, False, 1),
        "block_2_0": (5, True, True, 2),
        "block_2_1": (5, True, True, 1),
        "block_2_2": (5, True, True, 1),
        "block_3_0": (5, True, True, 1),
        "block_3_1": (5, True, True, 1),
        "block_4_0": (5, True, True, 2),
        "block_4_1": (5, True, True, 1),
        "block_4_2": (5, True, True, 1),
    },
    "mobilenet_v3_large": {
        "block_1_0": (3, False, False, 2),
        "block_1_1": (3, False, False, 1),
        "block_2_0": (5, True, False, 2),
        "block_2_1": (5, True, False, 1),
        "block_2_2": (5, True, False, 1),
        "block_3_0": (3, False, True, 2),
        "block_3_1": (3, False, True, 1),
        "block_3_2": (3, False, True, 1),
        "block_3_3": (3, False, True, 1),
        "block_4_0": (3, True, True, 1),
        "block_4_1": (3, True, True, 1),
        "block_5_0": (5, True, True, 2),
        "block_5_1": (5, True, True, 1),
        "block_5_2": (5, True, True, 1),
    },
}
TINY = (Row(3, 16, 8, True, "relu", 2), Row(5, 24, 8, True, "hard_swish", 2))


def norms(network):
    layers = network._flatten_layers()
    return [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]


@pytest.fixture(scope="module", params=PARAMETERS)
def built(request):
    """In float64, as these depths with random weights make 5e-4 of float32's rounding."""
    keras.config.set_dtype_policy("float64")
    return request.param, students.build(request.param)


def test_sizes_of_the_published_networks(built):
    name, backbone = built
    count = sum(int(np.prod(weight.shape)) for weight in backbone.trainable_weights)
    assert count == PARAMETERS[name]
    levels = students.pyramid(backbone)
    assert tuple(x.shape[-1] for x in levels.values()) == CHANNELS[name]


def test_batch_norm_and_dropout(built):
    _, backbone = built
    assert {(norm.epsilon, norm.momentum) for norm in norms(backbone)} == {(1e-5, 0.9)}
    assert not [x for x in backbone._flatten_layers() if isinstance(x, keras.layers.Dropout)]


def test_kernels_are_drawn_from_he_normal_over_the_fan_out_of_a_group(built):
    name, backbone = built
    is_mobile = name.startswith("mobile")
    places = (
        ("block_2_1/block_2_1_conv2", "block_2_1/block_2_1_conv1")
        if is_mobile
        else ("block3b_dwconv", "block3b_expand_conv")
    )
    depthwise, pointwise = (
        np.array(arrays.variables(backbone)[f"{place}/kernel"]) for place in places
    )
    assert depthwise.shape[:2] == (5, 5)
    assert np.std(depthwise) == pytest.approx(np.sqrt(2 / 25), rel=0.05)
    assert np.std(pointwise) == pytest.approx(np.sqrt(2 / pointwise.shape[-1]), rel=0.05)


def test_depthwise_convolutions_run_as_such_and_give_what_grouped_ones_give(tmp_path):
    backbone = mobilenet_v3(TINY, name="tiny")
    toys.scramble(backbone.weights, seed=0)
    images = np.random.default_rng(0).normal(size=(2, 33, 48, 3)).astype("float32")
    students.save(backbone, tmp_path)
    grouped = keras_hub.models.Backbone.from_preset(str(tmp_path))
    np.testing.assert_allclose(backbone(images), grouped(images), rtol=1e-4, atol=1e-5)
    for model, expected in ((backbone, True), (students.load(tmp_path), True), (grouped, False)):
        graph = tf.function(model).get_concrete_function(images).graph.as_graph_def()
        assert ("DepthwiseConv2dNative" in str(graph)) == expected


@pytest.mark.slow
def test_two_replicas_train_the_norms_inside_of_blocks_as_one(two_replicas):
    def build():
        keras.utils.set_random_seed(0)
        backbone = mobilenet_v3(TINY, name="tiny")
        model = Distiller(toys.teacher(), backbone, queue_size=toys.QUEUE_SIZE, mhsa=False, seed=0)
        model.compile(optimizer=keras.optimizers.SGD(0.1), jit_compile=False)
        return model

    def fit(model):
        model.fit(toys.batches(8), steps_per_epoch=1, shuffle=False, verbose=0)
        return model

    alone = build()
    start = [np.array(x) for x in alone.backbone.weights]
    assert {norm.synchronized for norm in norms(alone.backbone)} == {False}
    fit(alone)
    with two_replicas.scope():
        mirrored = build()
    assert len(norms(mirrored.backbone)) == 7
    assert {norm.synchronized for norm in norms(mirrored.backbone)} == {True}
    fit(mirrored)
    pairs = zip(alone.backbone.weights, mirrored.backbone.weights, start, strict=True)
    for one, two, old in pairs:
        change = np.linalg.norm(np.array(one) - old)
        for value in two_replicas.experimental_local_results(two.value):
            error = np.linalg.norm(np.array(value) - np.array(one))
            assert error <= 1e-2 * change + 1e-6, one.path


# Against PyTorch, with the papers' networks written out in its functions


def random_state(named):
    random = np.random.default_rng(0)
    state = {}
    for name, variable in named.items():
        if name.endswith("kernel"):
            is_depthwise = 1 in variable.shape[2:] and variable.shape[0] > 1
            fan_in = np.prod(variable.shape[:2] if is_depthwise else variable.shape[:3])
            state[name] = random.normal(0.0, np.sqrt(2.0 / fan_in), variable.shape)
        elif name.endswith(("gamma", "moving_variance")):
            state[name] = random.uniform(0.5, 1.5, variable.shape)
        else:
            state[name] = random.normal(0.0, 0.2, variable.shape)
    return state


class Torch:
    """Convolutions and norms of a state of Keras arrays, computed by PyTorch at inference."""

    def __init__(self, torch, state):
        self.torch, self.functional, self.state = torch, torch.nn.functional, state

    def convolve(self, x, name, stride=1, groups=1):
        kernel = self.torch.tensor(self.state[f"{name}/kernel"])
        # [h, w, in / groups, out] of a Conv2D, [h, w, in, 1] of a DepthwiseConv2D
        order = (2, 3, 0, 1) if groups > 1 and kernel.shape[3] == 1 else (3, 2, 0, 1)
        kernel = kernel.permute(order)  # (out, in / groups, h, w)
        bias = self.state.get(f"{name}/bias")
        return self.functional.conv2d(
            x,
            kernel,
            None if bias is None else self.torch.tensor(bias),
            stride=stride,
            padding=kernel.shape[-1] // 2,
            groups=groups,
        )

    def normalise(self, x, name):
        mean, variance, gamma, beta = (
            self.torch.tensor(self.state[f"{name}/{variable}"])
            for variable in ("moving_mean", "moving_variance", "gamma", "beta")
        )
        return self.functional.batch_norm(x, mean, variance, gamma, beta, eps=1e-5)

    def excite(self, x, reduce, expand, activation, gate):
        pooled = x.mean((2, 3), keepdim=True)
        return x * gate(self.convolve(activation(self.convolve(pooled, reduce)), expand))


def torch_mobilenet(torch, state, name, x):
    net, functional = Torch(torch, state), torch.nn.functional
    relu, hard_swish, gate = functional.relu, functional.hardswish, functional.hardsigmoid

    def block(x, name, squeezes, activation, stride, numbers, se):
        expand, depthwise, project = numbers
        y = x
        if expand:
            y = net.convolve(y, f"{name}_conv{expand}")
            y = activation(net.normalise(y, f"{name}_bn{expand}"))
        y = net.convolve(y, f"{name}_conv{depthwise}", stride, groups=y.shape[1])
        y = activation(net.normalise(y, f"{name}_bn{depthwise}"))
        if squeezes:
            reduce, excite = (
                f"{name}_{se}/{name.split('/')[1]}_{se}_conv_{x}" for x in ("reduce", "expand")
            )
            y = net.excite(y, reduce, excite, relu, gate)
        y = net.normalise(net.convolve(y, f"{name}_conv{project}"), f"{name}_bn{project}")
        return x + y if stride == 1 and x.shape == y.shape else y

    x = hard_swish(net.normalise(net.convolve(x, "input_conv", 2), "input_batch_norm"))
    small = name.endswith("small")
    first, numbers = "block_0_0/block_0_0", (None, 1, 2)
    x = block(x, first, small, relu, 2 if small else 1, numbers, "squeeze_excite")
    for key, (_, squeezes, hard, stride) in BLOCKS[name].items():
        activation = hard_swish if hard else relu
        x = block(x, f"{key}/{key}", squeezes, activation, stride, (1, 2, 3), "se")
    last = "block_5_0/block_5_0" if small else "block_6_0/block_6_0"
    return hard_swish(net.normalise(net.convolve(x, f"{last}_conv"), f"{last}_bn"))


def torch_efficientnet(torch, state, name, x):
    net = Torch(torch, state)
    silu, gate = torch.nn.functional.silu, torch.sigmoid
    x = silu(net.normalise(net.convolve(x, "stem_conv", 2), "stem_bn"))
    repeats, strides = (1, 2, 2, 3, 3, 4, 1), (1, 2, 2, 2, 1, 2, 1)
    for stage in range(7):
        for repeat in range(repeats[stage]):
            block = f"block{stage + 1}{'abcd'[repeat]}_"
            stride, y = strides[stage] if repeat == 0 else 1, x
            if stage > 0:
                y = silu(net.normalise(net.convolve(y, f"{block}expand_conv"), f"{block}expand_bn"))
            y = net.convolve(y, f"{block}dwconv", stride, groups=y.shape[1])
            y = silu(net.normalise(y, f"{block}dwconv_bn"))
            y = net.excite(y, f"{block}se_reduce", f"{block}se_expand", silu, gate)
            y = net.normalise(net.convolve(y, f"{block}project"), f"{block}project_bn")
            x = x + y if x.shape == y.shape else y
    return silu(net.normalise(net.convolve(x, "top_conv"), "top_bn"))


@pytest.mark.torch
def test_maps_equal_those_of_torch_with_the_same_weights(built):
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    name, backbone = built
    named = arrays.variables(backbone)
    state = random_state(named)
    arrays.assign(named, state, origin="the test")
    images = np.random.default_rng(1).normal(size=(1, 33, 50, 3))
    compute = torch_mobilenet if name.startswith("mobile") else torch_efficientnet
    x = torch.tensor(images).permute(0, 3, 1, 2)  # (B, 3, H, W)
    expected = compute(torch, state, name, x).permute(0, 2, 3, 1).numpy()
    received = np.array(backbone(images, training=False))
    assert received.shape == expected.shape
    assert np.abs(received - expected).max() < 1e-5 * np.abs(expected).max()
