"""The ResNets are torchvision's: sizes, counts, layout, initialisation."""

import keras
import numpy as np
import pytest

from pcd_tf.backbones.resnet import resnet, zero_init_residual
from pcd_tf.weights import arrays

# torchvision's published totals without the classifier of 1000 classes.
PARAMETERS = {
    18: 11_689_512 - 513_000,
    34: 21_797_672 - 513_000,
    50: 25_557_032 - 2_049_000,
}


@pytest.mark.parametrize("depth", PARAMETERS)
def test_as_many_trainable_parameters_as_torchvision(depth):
    backbone = resnet(depth)
    assert (
        sum(weight.value.shape.num_elements() for weight in backbone.trainable_weights)
        == (PARAMETERS[depth])
    )


def test_maps_of_any_size_and_their_pyramid():
    backbone = resnet(18)
    network = keras.Model(backbone.input, backbone.pyramid_outputs)
    for height, width in ((64, 64), (33, 50)):
        levels = network(np.zeros((2, height, width, 3), "float32"))
        for level, channels, stride in (
            ("P2", 64, 4),
            ("P3", 128, 8),
            ("P4", 256, 16),
            ("P5", 512, 32),
        ):
            expected = (2, -(-height // stride), -(-width // stride), channels)
            assert tuple(levels[level].shape) == expected


def test_batch_norm_is_torchvisions_and_synchronized():
    norms = [x for x in resnet(18).layers if isinstance(x, keras.layers.BatchNormalization)]
    assert len(norms) == 20
    assert {(norm.epsilon, norm.momentum, norm.synchronized) for norm in norms} == {
        (1e-5, 0.9, True)
    }
    local = resnet(18, synchronized=False)
    assert not any(getattr(layer, "synchronized", False) for layer in local.layers)


@pytest.mark.parametrize("depth", [18, 50])
def test_zero_init_residual_makes_every_block_its_shortcut(depth):
    backbone = resnet(depth)
    zero_init_residual(backbone)
    adds = [layer for layer in backbone.layers if isinstance(layer, keras.layers.Add)]
    assert len(adds) == {18: 8, 50: 16}[depth]
    sums = keras.Model(backbone.input, [add.output for add in adds])
    shortcuts = keras.Model(backbone.input, [add.input[0] for add in adds])
    images = np.random.default_rng(0).normal(size=(1, 64, 64, 3)).astype("float32")
    for received, expected in zip(sums(images), shortcuts(images), strict=True):
        np.testing.assert_array_equal(received, expected)
        assert np.abs(expected).max() > 0  # the shortcuts' own BatchNorm is left as it was


def test_kernels_are_drawn_from_he_normal_over_the_fan_out():
    keras.utils.set_random_seed(0)
    kernel = resnet(18).get_layer("stack3_block1_1_conv").kernel.numpy()
    assert np.std(kernel) == pytest.approx(np.sqrt(2.0 / (3 * 3 * 512)), rel=0.01)
    assert np.max(np.abs(kernel)) > 4 * np.std(kernel)  # not truncated
    keras.utils.set_random_seed(0)
    np.testing.assert_array_equal(resnet(18).get_layer("stack3_block1_1_conv").kernel, kernel)


def test_an_unknown_depth_is_refused():
    with pytest.raises(ValueError, match=r"depth out of 18, 34, 50\. Received: depth=20"):
        resnet(20)


@pytest.mark.torch
@pytest.mark.parametrize(
    ("depth", "num_blocks"), [(18, (2, 2, 2, 2)), (34, (3, 4, 6, 3)), (50, (3, 4, 6, 3))]
)
def test_feature_maps_equal_those_of_torch_with_the_same_weights(depth, num_blocks):
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    backbone = resnet(depth)
    named = arrays.variables(backbone)
    state = random_state(named)
    arrays.assign(named, state, origin="the test")
    images = np.random.default_rng(1).normal(size=(2, 65, 98, 3)).astype("float32")
    network = keras.Model(backbone.input, backbone.pyramid_outputs)
    received = network(images, training=False)
    for level, expected in torch_pyramid(torch, state, num_blocks, images).items():
        error = np.max(np.abs(received[level] - expected)) / np.max(np.abs(expected))
        assert error < 1e-5, level


def random_state(named):
    """Weights with batch statistics that are far from neutral, so that each of them counts."""
    random = np.random.default_rng(0)
    state = {}
    for name, variable in named.items():
        if name.endswith("kernel"):
            scale = np.sqrt(2.0 / np.prod(variable.shape[:3]))
            state[name] = random.normal(0.0, scale, variable.shape).astype("float32")
        elif name.endswith(("gamma", "moving_variance")):
            state[name] = random.uniform(0.5, 1.5, variable.shape).astype("float32")
        else:
            state[name] = random.normal(0.0, 0.2, variable.shape).astype("float32")
    return state


def torch_pyramid(torch, state, num_blocks, images):
    """torchvision's ResNets written out with PyTorch's functions, at inference."""
    functional = torch.nn.functional

    def convolve(x, name, stride=1, padding=0):
        kernel = torch.tensor(state[f"{name}_conv/kernel"]).permute(3, 2, 0, 1)  # (out, in, h, w)
        x = functional.conv2d(x, kernel, stride=stride, padding=padding)
        mean, variance, gamma, beta = (
            torch.tensor(state[f"{name}_bn/{variable}"])
            for variable in ("moving_mean", "moving_variance", "gamma", "beta")
        )
        return functional.batch_norm(x, mean, variance, gamma, beta, training=False, eps=1e-5)

    def basic(x, name, stride):
        x = functional.relu(convolve(x, f"{name}_1", stride, padding=1))
        return convolve(x, f"{name}_2", padding=1)

    def bottleneck(x, name, stride):
        x = functional.relu(convolve(x, f"{name}_1"))
        x = functional.relu(convolve(x, f"{name}_2", stride, padding=1))
        return convolve(x, f"{name}_3")

    x = torch.tensor(images).permute(0, 3, 1, 2)  # (B, 3, H, W)
    x = functional.relu(convolve(x, "conv1", stride=2, padding=3))
    x = functional.max_pool2d(x, 3, stride=2, padding=1)
    levels = {}
    for stack in range(4):
        for block in range(num_blocks[stack]):
            name, stride = f"stack{stack}_block{block}", 2 if stack > 0 and block == 0 else 1
            residual = bottleneck if f"{name}_3_conv/kernel" in state else basic
            has_projection = f"{name}_0_conv/kernel" in state
            shortcut = convolve(x, f"{name}_0", stride) if has_projection else x
            x = functional.relu(residual(x, name, stride) + shortcut)
        levels[f"P{stack + 2}"] = x.permute(0, 2, 3, 1).numpy()  # (B, h, w, C)
    return levels
