"""The SavedModel: its signatures, in a process without Keras, and the preset beside it."""

import dataclasses
import io
import json
import subprocess
import sys

import keras_hub
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from export import _verify, saved_model

# Runs where Keras and this project cannot be imported; TensorFlow may look where Keras is, no more.
CLEAN_PROCESS = """
import importlib.machinery, sys
import numpy as np

class Refuse:
    names = {"keras", "keras_hub", "keras_cv", "tf_keras", "pcd_tf", "export"}
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.names:
            return importlib.machinery.ModuleSpec(name, self)
    def create_module(self, spec):
        raise ImportError(f"{spec.name} is not to be imported here")

sys.meta_path.insert(0, Refuse())
import tensorflow as tf
model, images, outputs = sys.argv[1:]
loaded = tf.saved_model.load(model)
answer = loaded.signatures["serving_default"](images=tf.constant(np.load(images)))
np.savez(outputs, **answer)
assert not Refuse.names & {name.split(".")[0] for name in sys.modules}
"""


@pytest.fixture(scope="module")
def directory(order, tmp_path_factory):
    directory = tmp_path_factory.mktemp("saved_model")
    saved_model.write(order, directory)
    return directory


@pytest.fixture(scope="module")
def loaded(directory):
    return tf.saved_model.load(str(directory))


def ask(loaded, signature, images):
    return loaded.signatures[signature](images=tf.constant(images))


def random_images(*shape):
    return np.random.default_rng(0).integers(0, 256, (*shape, 3), "uint8")


def assert_close(received, expected):
    assert received.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(received[name], value, atol=1e-5 * np.max(np.abs(value)))


def signatures_of(loaded):
    return {
        name: {key: (spec.shape.as_list(), spec.dtype) for key, spec in inputs.items()}
        for name, signature in loaded.signatures.items()
        for _, inputs in [signature.structured_input_signature]
    }


def test_signatures(loaded):
    any_size = [None, None, None, 3]
    assert signatures_of(loaded) == {
        "serving_default": {"images": (any_size, tf.uint8)},
        "float_images": {"images": (any_size, tf.float32)},
        "encoded_images": {"images": ([None], tf.string)},
    }


def test_fixed_shapes(tiny, tmp_path):
    fixed = dataclasses.replace(tiny, batch_size=2, height=32, width=48)
    saved_model.write(fixed, tmp_path)
    loaded = tf.saved_model.load(str(tmp_path))
    assert signatures_of(loaded) == {
        "serving_default": {"images": ([2, 32, 48, 3], tf.uint8)},
        "float_images": {"images": ([2, 32, 48, 3], tf.float32)},
        "encoded_images": {"images": ([2], tf.string)},
    }
    for signature in loaded.signatures.values():
        shapes = {key: spec.shape.as_list() for key, spec in signature.structured_outputs.items()}
        assert shapes == {"embedding": [2, 4], "feature_map": [2, 4, 6, 4], "P3": [2, 4, 6, 4]}
    images = random_images(2, 32, 48)
    expected = tiny.student.outputs(images)
    assert_close(ask(loaded, "serving_default", images), expected)
    pngs = [encode(Image.fromarray(image), "PNG") for image in images]
    assert_close(ask(loaded, "encoded_images", pngs), expected)


def test_it_loads_where_there_is_only_tensorflow(directory, student, tmp_path):
    images = random_images(2, 48, 70)
    np.save(tmp_path / "images.npy", images)
    process = subprocess.run(
        [
            sys.executable,
            "-c",
            CLEAN_PROCESS,
            directory,
            tmp_path / "images.npy",
            tmp_path / "out.npz",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert_close(dict(np.load(tmp_path / "out.npz")), student.outputs(images))


@pytest.mark.parametrize("shape", [(1, 64, 64), (3, 33, 90), (1, 1, 1)])
def test_images_of_any_number_and_size(loaded, student, shape):
    images = random_images(*shape)
    expected = student.outputs(images)
    assert_close(ask(loaded, "serving_default", images), expected)
    assert_close(ask(loaded, "float_images", images.astype("float32")), expected)
    assert_close(loaded.serving_default(images), expected)


def test_float_images_are_not_rounded(loaded, student):
    images = random_images(1, 32, 32) * np.float32(0.977)
    assert_close(ask(loaded, "float_images", images), student.outputs(images))


def test_no_image_gives_no_output(loaded):
    for signature, images in (
        ("serving_default", np.zeros((0, 64, 32, 3), "uint8")),
        ("encoded_images", np.zeros((0,), object)),
    ):
        outputs = loaded.signatures[signature](
            images=tf.constant(images, dtype_of(loaded, signature))
        )
        assert outputs["embedding"].shape == (0, 32)
        assert outputs["feature_map"].shape[0] == 0


def dtype_of(loaded, signature):
    return loaded.signatures[signature].structured_input_signature[1]["images"].dtype


def encode(image, file_format, **options):
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def test_encoded_images_are_decoded_and_resized_each_for_itself(loaded, student):
    large, small = (Image.fromarray(smooth_image(h, w)) for h, w in ((120, 90), (40, 40)))
    jpeg = encode(large, "JPEG", quality=90, subsampling=0)
    outputs = ask(loaded, "encoded_images", [encode(small, "PNG"), jpeg, encode(large, "PNG")])
    images = (small, Image.open(io.BytesIO(jpeg)), large)
    expected = student.outputs(np.stack([resize_exactly(image) for image in images]))
    for name, value in expected.items():
        # TensorFlow and PIL resize alike but for their weights' rounding.
        np.testing.assert_allclose(outputs[name], value, atol=1e-3 * np.max(np.abs(value)))


def resize_exactly(image):
    """PIL's antialiased resizing, in floating point: without rounding to whole numbers."""
    channels = [
        Image.fromarray(channel) for channel in np.asarray(image, "float32").transpose(2, 0, 1)
    ]
    resized = [channel.resize((40, 40), Image.Resampling.BILINEAR) for channel in channels]
    return np.stack([np.asarray(channel) for channel in resized], axis=-1)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "I;16"])
def test_encoded_images_of_other_kinds_are_taken_as_rgb(loaded, mode):
    grey = smooth_image(40, 40)[..., 0]
    if mode == "I;16":
        image = Image.fromarray(grey.astype("uint16") * 257)
    else:
        image = Image.fromarray(grey).convert(mode)
        grey = np.asarray(image.convert("L"))
    outputs = ask(loaded, "encoded_images", [encode(image, "PNG")])
    expected = ask(loaded, "serving_default", np.stack([grey] * 3, axis=-1)[None])
    np.testing.assert_allclose(outputs["embedding"], expected["embedding"], rtol=1e-4, atol=1e-4)


def test_the_backbone_stands_beside_it_as_a_preset(directory, student):
    backbone = keras_hub.models.Backbone.from_preset(str(directory / "keras_hub_preset"))
    assert backbone.dtype_policy.name == "float32"
    images = np.random.default_rng(0).normal(size=(1, 40, 40, 3)).astype("float32")
    np.testing.assert_array_equal(backbone(images), student.backbone(images))


def test_a_preset_that_is_not_the_student_is_refused(order, tmp_path):
    saved_model.write(order, tmp_path)
    converter = tmp_path / "keras_hub_preset" / "image_converter.json"
    config = json.loads(converter.read_text())
    config["config"]["scale"] = [0.01, 0.01, 0.01]
    converter.write_text(json.dumps(config))
    with pytest.raises(ValueError, match="of keras_hub_preset, at 40 x 40 pixels, off by"):
        _verify.check(order, saved_model.entrances(order, tmp_path), _verify.Bound())


def test_a_student_that_keras_hub_does_not_know_leaves_without_a_preset(tiny, tmp_path):
    saved_model.write(tiny, tmp_path)
    assert not (tmp_path / "keras_hub_preset").exists()
    images = random_images(1, 16, 24)
    loaded = tf.saved_model.load(str(tmp_path))
    assert_close(ask(loaded, "serving_default", images), tiny.student.outputs(images))


def smooth_image(height, width):
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    waves = [np.sin(9 * x + 4 * y), np.cos(7 * x * y + 1), np.sin(11 * y)]
    return np.uint8(np.stack(waves, axis=-1) * 120 + 128)
