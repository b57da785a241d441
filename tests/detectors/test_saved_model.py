"""The SavedModel of a detector: it runs without Keras, and finds what the model finds."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pcd_tf import annotated, detectors
from pcd_tf.annotated import in_order
from pcd_tf.detectors import _saved_model
from pcd_tf.detectors.retinanet import RetinaNet
from tests.detectors import one_stage, small

# Runs where Keras and this project cannot be imported; TensorFlow may look where Keras is, no more.
WITHOUT_KERAS = """
import importlib.machinery, sys
from pathlib import Path
import numpy as np

class Refuse:
    names = {"keras", "keras_hub", "keras_cv", "tf_keras", "pcd_tf"}
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.names:
            return importlib.machinery.ModuleSpec(name, self)
    def create_module(self, spec):
        raise ImportError(f"{spec.name} is not to be imported here")

sys.meta_path.insert(0, Refuse())
import tensorflow as tf

folder = Path(sys.argv[1])
signatures = tf.saved_model.load(str(folder / "saved")).signatures
images = np.load(folder / "images.npy")
files = [(folder / name).read_bytes() for name in ("wide.png", "tall.jpg")]
pixels = signatures["serving_default"](images=tf.constant(images))
encoded = signatures["encoded_images"](images=tf.constant(files))
names = [name.decode() for name in encoded["class_names"].numpy()]
kept = ("boxes", "scores", "classes", "count")
outputs = {f"pixels_{name}": pixels[name] for name in kept}
outputs.update({f"encoded_{name}": encoded[name] for name in kept})
np.savez(folder / "outputs.npz", class_names=names, **outputs)
"""


class Whole:
    """Finds one box: where its images are, half of their first row's and column's red."""

    def __init__(self):
        self.half = tf.Variable(0.5)

    def detect(self, images, score_threshold):
        red = tf.cast(images[..., 0] > 0, tf.float32)  # (B, S, S)
        right, low = tf.reduce_sum(red[:, 0], -1), tf.reduce_sum(red[:, :, 0], -1)
        boxes = tf.stack([0 * right, 0 * low, self.half * right, self.half * low], -1)[:, None]
        ones = tf.ones_like(boxes[:, :, 0])
        return {
            "boxes": boxes,
            "scores": score_threshold * ones,
            "classes": tf.cast(ones, tf.int32),
            "count": tf.cast(ones[:, 0], tf.int32),
        }


def test_it_runs_without_keras_and_finds_what_the_model_finds(tmp_path, two_replicas):
    with two_replicas.scope():  # a model of one replica has the simpler weights
        model = one_stage.build(RetinaNet, class_names=("dark", "light", "grün"))
    detectors.export(
        model,
        tmp_path / "saved",
        image_size=small.SIZE,
        class_names=model.class_names,
        score_threshold=0.0,
    )
    images = small.batch((1, 2))["images"]
    np.save(tmp_path / "images.npy", images)
    tall = np.kron(images[1], np.ones((4, 2, 1), np.uint8))  # 256 x 128
    Image.fromarray(images[0]).save(tmp_path / "wide.png")
    Image.fromarray(tall).save(tmp_path / "tall.jpg", quality=100, subsampling=0)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_KERAS, str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = np.load(tmp_path / "outputs.npz")
    expected = {name: np.array(x) for name, x in model.detect(images, score_threshold=0.0).items()}
    for name in ("boxes", "scores", "classes", "count"):
        np.testing.assert_allclose(found[f"pixels_{name}"], expected[name], rtol=1e-3, atol=1e-2)
        first = found[f"encoded_{name}"][0]
        np.testing.assert_allclose(first, expected[name][0], rtol=1e-3, atol=1e-2)
    assert found["class_names"].tolist() == ["dark", "light", "grün"]
    assert found["encoded_boxes"][1].max() > small.SIZE
    assert (found["encoded_boxes"][1] <= [128, 256, 128, 256]).all()


def test_boxes_are_in_pixels_of_the_given_image_whatever_its_size(tmp_path):
    detectors.export(Whole(), tmp_path / "saved", image_size=64, class_names=("a", "b"))
    signatures = tf.saved_model.load(str(tmp_path / "saved")).signatures
    for height, width in ((64, 64), (40, 160), (301, 20), (16, 8)):
        images = np.full((2, height, width, 3), 255, np.uint8)
        found = signatures["serving_default"](images=tf.constant(images))
        # A pixel of the 64 x 64 is max(height, width) / 64 of the image's.
        rest = max(height, width) / 64
        right, low = np.array(found["boxes"])[1, 0, 2:]
        assert width / 2 - rest <= right <= width / 2 + 1e-4
        assert height / 2 - rest <= low <= height / 2 + 1e-4
        png = tf.io.encode_png(images[0])
        encoded = signatures["encoded_images"](images=png[None])
        np.testing.assert_allclose(encoded["boxes"], found["boxes"][:1])
    np.testing.assert_allclose(found["scores"], np.full((2, 1), 0.05))


def test_no_image_gives_no_boxes(tmp_path):
    detectors.export(Whole(), tmp_path / "saved", image_size=64, class_names=("a",))
    signatures = tf.saved_model.load(str(tmp_path / "saved")).signatures
    none = tf.zeros((0, 20, 30, 3), tf.uint8)
    assert signatures["serving_default"](images=none)["boxes"].shape == (0, 1, 4)
    none = tf.zeros((0,), tf.string)
    assert signatures["encoded_images"](images=none)["boxes"].shape == (0, 1, 4)


@pytest.mark.parametrize("image_size", [64, 200])
def test_images_are_brought_to_size_as_for_evaluation(image_size):
    source = annotated.build("synthetic", split="val")
    batch = next(iter(in_order(source, image_size=image_size, batch_size=3)))
    for index, expected in enumerate(np.array(batch["images"]).astype(int)):
        image = source.image(index)
        found = np.array(_saved_model._fit(tf.constant(image[None]), image_size))[0].astype(int)
        assert np.abs(found - expected).max() <= 2  # Pillow rounds twice, once for each axis
        assert np.abs(found - expected).mean() < 0.5
