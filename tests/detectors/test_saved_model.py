"""The SavedModel of a detector: it runs without Keras, and finds what the model finds."""

import json
import subprocess
import sys

import numpy as np
import tensorflow as tf
from PIL import Image

from pcd_tf import data, detectors
from pcd_tf.detectors.retinanet import RetinaNet
from tests.data import coco_files
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


class Sums:
    """Finds a box that each of its image's pixels moves, and one of the whole image."""

    def __init__(self):
        self.one = tf.Variable(1.0)

    def detect(self, images, score_threshold=0.05):
        pixels = tf.cast(tf.reshape(images, (tf.shape(images)[0], -1)), tf.int64)
        place = tf.range(1, tf.shape(pixels)[1] + 1, dtype=tf.int64)
        sums = tf.reduce_sum(pixels * place**2, axis=1) // [[1], [7], [49], [343]] % 61  # (4, B)
        x, y, width, height = tf.unstack(tf.cast(sums, tf.float32))
        found = tf.stack([x, y, x + width, y + height], axis=-1)  # (B, 4)
        boxes = tf.stack([found, tf.fill(tf.shape(found), 64.0)], axis=1) * self.one
        ones = tf.ones_like(boxes[:, :, 0])
        return {
            "boxes": boxes,
            "scores": ones,
            "classes": tf.cast(0 * ones, tf.int32),
            "count": tf.cast(ones[:, 0], tf.int32),
        }


def test_it_finds_what_the_evaluation_finds_to_the_pixel(tmp_path):
    """Of PNG and JPEG files that are shrunk, enlarged, turned on their side, and of one colour."""
    rng = np.random.default_rng(0)
    sizes = [(40, 160), (301, 97), (64, 64), (31, 16), (555, 777)]
    written = coco_files.content() | {"annotations": [], "images": []}
    for index, (height, width) in enumerate(sizes):
        pixels = rng.integers(0, 256, (-(-height // 8), -(-width // 8), 3), np.uint8)
        image = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)
        for suffix in ("png", "jpg"):
            name = f"{index}.{suffix}"
            image.save(tmp_path / name)
            size = {"height": height, "width": width}
            written["images"].append({"id": len(written["images"]), "file_name": name} | size)
    Image.new("L", (90, 70), 130).save(tmp_path / "grey.jpg")
    written["images"].append({"id": 99, "file_name": "grey.jpg", "height": 70, "width": 90})
    (tmp_path / "instances_val.json").write_text(json.dumps(written))
    source = data.build_annotated("coco_json", data_dir=str(tmp_path), split="val")
    evaluated = detectors.evaluate(Sums(), source, image_size=64, batch_size=4)
    detectors.export(Sums(), tmp_path / "saved", image_size=64, class_names=("cat", "dog"))
    signatures = tf.saved_model.load(str(tmp_path / "saved")).signatures
    files = [(tmp_path / image["file_name"]).read_bytes() for image in written["images"]]
    encoded = signatures["encoded_images"](images=tf.constant(files))["boxes"].numpy()
    results = evaluated.results()
    assert len(results) == len(files) == 11
    for index, (file, result) in enumerate(zip(files, results, strict=True)):
        image = tf.io.decode_image(file, channels=3, expand_animations=False)
        if file[:4] != b"\x89PNG":
            image = tf.io.decode_jpeg(file, channels=3, dct_method="INTEGER_ACCURATE")
        pixels = signatures["serving_default"](images=image[None])["boxes"].numpy()[0]
        np.testing.assert_array_equal(pixels, encoded[index])
        x1, y1, x2, y2 = pixels[0].astype(np.float64)
        assert result["bbox"] == [x1, y1, x2 - x1, y2 - y1]
        height, width = source.size(index)
        np.testing.assert_array_equal(pixels[1], [width, height] * 2)  # inside the image
