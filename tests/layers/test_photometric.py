import colorsys
import itertools
from collections.abc import Callable, Mapping

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from pcd_tf.layers.photometric import ORDERS, PARAMETERS, Photometric

NEUTRAL: dict[str, float] = {"brightness": 1, "contrast": 1, "saturation": 1, "hue": 0, "order": 0}
NEUTRAL |= {"grey": 0, "sigma": 0, "solarise": 0}


def rows(*changes: Mapping[str, float]) -> np.ndarray:
    """One row of parameters for each dict of changes to the neutral one."""
    return np.array(
        [[(NEUTRAL | dict(c))[name] for name in PARAMETERS] for c in changes], "float32"
    )


def random_images(num: int, height: int = 9, width: int = 13, seed: int = 0) -> np.ndarray:
    images = np.random.default_rng(seed).integers(0, 256, (num, height, width, 3), "uint8")
    images[:, 0, :4] = [[0, 0, 0], [255, 255, 255], [128, 128, 128], [255, 0, 255]]
    return images


def random_parameters(num: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    columns = {
        "brightness": rng.uniform(0.4, 1.8, num),
        "contrast": rng.uniform(0.4, 1.8, num),
        "saturation": rng.uniform(0.0, 2.5, num),
        "hue": rng.uniform(-0.5, 0.5, num),
        "order": np.arange(num) % len(ORDERS),
        "grey": rng.random(num) < 0.3,
        "sigma": rng.uniform(0.1, 2.0, num) * (rng.random(num) < 0.7),
        "solarise": rng.random(num) < 0.5,
    }
    return np.stack([columns[name] for name in PARAMETERS], axis=1).astype("float32")


# The reference: one image, one pixel, one line of the definition at a time, in float64.


def luma(x: np.ndarray) -> np.ndarray:
    return (x @ [0.299, 0.587, 0.114])[..., None]


def shift_hue(x: np.ndarray, shift: float) -> np.ndarray:
    pixels = []
    for red, green, blue in x.reshape(-1, 3) / 255.0:
        hue, saturation, value = colorsys.rgb_to_hsv(red, green, blue)
        pixels.append(colorsys.hsv_to_rgb((hue + shift) % 1.0, saturation, value))
    return 255.0 * np.array(pixels).reshape(x.shape)


def blur(x: np.ndarray, sigma: float) -> np.ndarray:
    if sigma == 0:
        return x
    radius = 30
    taps = np.exp(-(np.arange(-radius, radius + 1.0) ** 2) / (2 * sigma**2))
    taps /= taps.sum()
    for axis in (0, 1):
        pad = [(radius, radius) if a == axis else (0, 0) for a in range(3)]
        padded = np.pad(x, pad, mode="edge")
        size = x.shape[axis]
        x = sum(t * padded.take(range(k, k + size), axis) for k, t in enumerate(taps))
    return x


JITTER = {
    "brightness": lambda x, f: f * x,
    "contrast": lambda x, f: f * x + (1 - f) * luma(x).mean(),
    "saturation": lambda x, f: f * x + (1 - f) * luma(x),
    "hue": shift_hue,
}


def reference(image: np.ndarray, row: np.ndarray) -> np.ndarray:
    x = image.astype("float64")
    values = dict(zip(PARAMETERS, row.tolist(), strict=True))
    for name in ORDERS[int(values["order"])]:
        x = np.clip(JITTER[name](x, values[name]), 0, 255)
    if values["grey"]:
        x = np.repeat(luma(x), 3, axis=-1)
    x = blur(x, values["sigma"])
    return np.where(x >= 128, 255 - x, x) if values["solarise"] else x


def assert_equals_reference(images: np.ndarray, parameters: np.ndarray) -> None:
    received = np.asarray(Photometric()(images, parameters))
    for image, row, one in zip(images, parameters, received, strict=True):
        np.testing.assert_allclose(one, reference(image, row), atol=0.02)


def test_orders_are_the_24_permutations_in_lexicographic_order() -> None:
    assert list(ORDERS) == list(itertools.permutations(PARAMETERS[:4]))
    assert PARAMETERS[4:] == ("order", "grey", "sigma", "solarise")


def test_neutral_parameters_change_nothing_in_any_order() -> None:
    images = random_images(24)
    out = Photometric()(images, rows(*[{"order": k} for k in range(24)]))
    assert out.dtype == "float32"
    np.testing.assert_array_equal(out, images)


@pytest.mark.parametrize(
    "changes",
    [
        [{"brightness": f} for f in (0.0, 0.6, 1.4, 3.0)],
        [{"contrast": f} for f in (0.0, 0.6, 1.4, 3.0)],
        [{"saturation": f} for f in (0.0, 0.6, 1.4, 3.0)],
        [{"hue": s} for s in (-0.5, -1 / 3, -0.1, 0.03, 1 / 6, 0.5)],
        [{"grey": 1}],
        [{"sigma": s} for s in (0.1, 0.5, 1.0, 2.0, 4.0)],
        [{"solarise": 1}],
    ],
    ids=lambda changes: next(iter(changes[0])),
)
def test_each_operation_alone_equals_the_reference(changes: list[Mapping[str, float]]) -> None:
    assert_equals_reference(random_images(len(changes)), rows(*changes))


def test_all_24_orders_equal_the_reference() -> None:
    jitter = random_parameters(24) * [1, 1, 1, 1, 1, 0, 0, 0]
    assert_equals_reference(random_images(24), jitter.astype("float32"))


def test_the_order_matters_so_the_test_of_the_orders_can_fail() -> None:
    strong = [{"brightness": 1.7, "contrast": 1.6, "saturation": 2.2, "hue": 0.2}]
    parameters = rows(*[strong[0] | {"order": k} for k in range(24)])
    out = np.asarray(Photometric()(np.repeat(random_images(1), 24, axis=0), parameters))
    for first, second in itertools.combinations(range(24), 2):
        assert np.abs(out[first] - out[second]).max() > 0.1, (ORDERS[first], ORDERS[second])


def test_all_stages_together_equal_the_reference() -> None:
    assert_equals_reference(random_images(48, seed=1), random_parameters(48, seed=1))


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (6, 1), (16, 5), (3, 20)])
def test_any_height_and_width(size: tuple[int, int]) -> None:
    images = np.random.default_rng(2).integers(0, 256, (24, *size, 3), "uint8")
    assert_equals_reference(images, random_parameters(24, seed=2))


def test_a_row_of_parameters_concerns_its_own_image_only() -> None:
    images, parameters = random_images(24), random_parameters(24)
    together = np.asarray(Photometric()(images, parameters))
    alone = np.asarray(Photometric()(images[5:6], parameters[5:6]))
    np.testing.assert_allclose(together[5:6], alone, atol=1e-3)
    parameters[np.arange(24) != 5] = rows({})
    others = np.asarray(Photometric()(images, parameters))
    np.testing.assert_allclose(others[5:6], alone, atol=1e-3)
    np.testing.assert_array_equal(np.delete(others, 5, 0), np.delete(images, 5, 0))


def smooth_photograph() -> np.ndarray:
    """A colourful image without noise, 32 x 40, on which 8-bit effects stay small."""
    y, x = np.mgrid[0:32, 0:40]
    waves = np.stack([np.sin(x / 6), np.cos(y / 5), np.sin((x + y) / 9 + 1)], axis=-1)
    return (127.5 + 110 * waves).astype("uint8")


@pytest.mark.parametrize(
    ("change", "pillow"),
    [
        ({"brightness": 1.4}, lambda i: ImageEnhance.Brightness(i).enhance(1.4)),
        ({"brightness": 0.6}, lambda i: ImageEnhance.Brightness(i).enhance(0.6)),
        ({"contrast": 1.4}, lambda i: ImageEnhance.Contrast(i).enhance(1.4)),
        ({"contrast": 0.6}, lambda i: ImageEnhance.Contrast(i).enhance(0.6)),
        ({"saturation": 1.2}, lambda i: ImageEnhance.Color(i).enhance(1.2)),
        ({"saturation": 0.0}, lambda i: ImageEnhance.Color(i).enhance(0.0)),
        ({"grey": 1}, lambda i: i.convert("L").convert("RGB")),
        ({"solarise": 1}, lambda i: ImageOps.solarize(i, 128)),
    ],
)
def test_agrees_with_pillow_to_its_rounding(
    change: Mapping[str, float], pillow: Callable[[Image.Image], Image.Image]
) -> None:
    image = smooth_photograph()
    expected = np.asarray(pillow(Image.fromarray(image)), "float32")
    received = np.asarray(Photometric()(image[None], rows(change)))[0]
    np.testing.assert_allclose(received, expected, atol=1.5)


@pytest.mark.parametrize("turns", [-0.25, -0.1, 0.1, 0.5])
def test_hue_agrees_with_pillow_to_its_8_bit_hue(turns: float) -> None:
    image = smooth_photograph()
    hsv = np.array(Image.fromarray(image).convert("HSV"))
    hsv[..., 0] += np.uint8(round(turns * 256) % 256)  # wraps around, as in torchvision
    expected = np.asarray(Image.fromarray(hsv, "HSV").convert("RGB"), "float32")
    received = np.asarray(Photometric()(image[None], rows({"hue": turns})))[0]
    assert np.abs(received - expected).max() < 8
    assert np.abs(received - expected).mean() < 1.5


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
def test_blur_agrees_with_pillow_roughly(sigma: float) -> None:
    image = np.zeros((31, 41, 3), "uint8")
    image[8:20, :12] = 255  # touches the left edge
    pillow = Image.fromarray(image).filter(ImageFilter.GaussianBlur(sigma))
    received = np.asarray(Photometric()(image[None], rows({"sigma": sigma})))[0]
    assert np.abs(received - np.asarray(pillow, "float32")).max() < 12  # PIL blurs with boxes
    assert np.abs(received - image).max() > 30


def test_same_result_eager_in_a_function_compiled_and_in_tf_data() -> None:
    layer, images, parameters = Photometric(), random_images(24), random_parameters(24)
    expected = layer(images, parameters)
    shapes = [tf.TensorSpec((None, None, None, 3), "uint8"), tf.TensorSpec((None, 8))]
    in_function = tf.function(layer.__call__, input_signature=shapes)(images, parameters)
    compiled = tf.function(layer.__call__, jit_compile=True)(images, parameters)
    batches = tf.data.Dataset.from_tensor_slices((images, parameters)).batch(24).map(layer)
    for received in (in_function, compiled, next(iter(batches))):
        np.testing.assert_allclose(received, expected, atol=0.01)


def test_computes_in_float32_under_a_mixed_policy() -> None:
    images, parameters = random_images(24), random_parameters(24)
    expected = Photometric()(images, parameters)
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        layer = Photometric()
        received = layer(images, parameters)
    finally:
        keras.config.set_dtype_policy(policy)
    assert layer.compute_dtype == received.dtype == "float32"
    np.testing.assert_array_equal(received, expected)


def test_float_images_give_what_uint8_images_give() -> None:
    images, parameters = random_images(4), random_parameters(4)
    expected = Photometric()(images, parameters)
    np.testing.assert_array_equal(Photometric()(images.astype("float32"), parameters), expected)


def test_config_round_trip_and_functional_model() -> None:
    layer = Photometric(name="colours")
    again = Photometric.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    inputs = [keras.Input((None, None, 3), dtype="uint8"), keras.Input((8,))]
    model = keras.Model(inputs, again(*inputs))
    assert model.output.shape == (None, None, None, 3)
    assert model.output.dtype == "float32"
    images, parameters = random_images(3), random_parameters(3)
    np.testing.assert_array_equal(model([images, parameters]), layer(images, parameters))
    assert not model.weights


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(N, H, W, 3\).*leading axis.*\(8, 8, 3\)"):
        Photometric()(np.zeros((8, 8, 3), "uint8"), rows({}))
    with pytest.raises(ValueError, match=r"\(N, 8\).*brightness.*Received.*\(1, 7\)"):
        Photometric()(np.zeros((1, 8, 8, 3), "uint8"), rows({})[:, :7])
