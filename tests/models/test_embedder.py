"""Embeddings from a workdir, a SavedModel and a teacher: the same pixels, the same vector."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import export
from pcd_tf import digests, students
from pcd_tf.configs.export import Config as ExportConfig
from pcd_tf.models import embedder
from tests import tiny_run, toys

SIZE = 40


@pytest.fixture(scope="module")
def workdir(tmp_path_factory) -> Path:
    """A finished distill run of a tiny ResNet whose every weight is random."""
    folder = tmp_path_factory.mktemp("run")
    tiny_run.write(folder, image_size=SIZE)
    return folder


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory, workdir) -> Path:
    out = tmp_path_factory.mktemp("export") / "saved_model"
    export.run(ExportConfig(workdir=str(workdir), format="saved_model", out=str(out)))
    return out


def images(count: int, size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, size, size, 3), np.uint8)


def test_a_student_gives_the_embedding_of_its_outputs(workdir: Path):
    network = embedder.load(workdir)
    assert (network.kind, network.image_size) == ("student", SIZE)
    received = network(images(3), batch_size=4)
    assert received.shape == (3, 32)
    assert received.dtype == np.float32
    expected = students.read(workdir).outputs(images(3))["embedding"]
    np.testing.assert_allclose(received, expected, rtol=1e-4, atol=1e-5)


def test_a_saved_model_gives_what_the_workdir_gives(workdir: Path, saved_model: Path):
    from_workdir, exported = embedder.load(workdir), embedder.load(saved_model)
    assert (exported.kind, exported.image_size) == ("saved_model", SIZE)
    expected = from_workdir(images(5), batch_size=5)
    received = exported(images(5), batch_size=5)
    assert np.abs(received - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("kind", ["workdir", "saved_model"])
def test_the_rest_of_a_batch_does_not_matter(kind: str, request):
    network = embedder.load(request.getfixturevalue(kind))
    whole = network(images(4), batch_size=4)
    for i in range(4):
        alone = network(images(4)[i : i + 1], batch_size=4)
        np.testing.assert_allclose(alone[0], whole[i], rtol=1e-5, atol=1e-6)


def test_a_partial_batch_is_no_new_shape(workdir: Path):
    network = embedder.load(workdir)
    function = network.function
    assert isinstance(function, tf.types.experimental.PolymorphicFunction)
    for count in (4, 1, 3):
        assert network(images(count), batch_size=4).shape == (count, 32)
    assert function.experimental_get_tracing_count() == 1


def test_a_teacher_gives_its_pooled_backbone(tmp_path: Path):
    teacher = toys.teacher()
    teacher.save(tmp_path / "teacher")
    network = embedder.load(tmp_path / "teacher")
    assert (network.kind, network.image_size) == ("teacher", 224)
    normalised = (images(2) - np.array(toys.MEAN)) / np.array(toys.STD)
    expected = np.mean(teacher.backbone(normalised.astype("float32")), axis=(1, 2))
    np.testing.assert_allclose(network(images(2), batch_size=2), expected, rtol=1e-4, atol=1e-5)


def test_other_weights_have_another_fingerprint(workdir: Path, tmp_path: Path):
    copy = shutil.copytree(workdir, tmp_path / "run")
    first = embedder.load(workdir).sha256
    assert embedder.load(copy).sha256 == first
    student = students.load(copy / "student")
    student.weights[0].assign(student.weights[0] + 1)
    shutil.rmtree(copy / "student")
    (copy / "student").mkdir()
    students.save(student, copy / "student")
    assert embedder.load(copy).sha256 != first


def test_fixed_shapes_are_asked_for_by_name(workdir: Path):
    network = embedder.load(workdir)
    network.check(image_size=64, batch_size=7)
    fixed = embedder.Embedder("saved_model", 48, "", network.function, (8, 48, 48, 3))
    fixed.check(image_size=48, batch_size=8)
    with pytest.raises(ValueError, match=r"batch_size: expected 8.* Received: 7.*--batch_size=8"):
        fixed.check(image_size=48, batch_size=7)
    with pytest.raises(ValueError, match=r"image_size: expected 48.* Received: 64"):
        fixed.check(image_size=64, batch_size=8)
    oblong = embedder.Embedder("saved_model", 48, "", network.function, (None, 48, 64, 3))
    with pytest.raises(ValueError, match=r"for square images.* Received: .* 48 x 64"):
        oblong.check(image_size=48, batch_size=8)


def test_a_saved_model_of_a_fixed_shape_gives_the_defaults(tmp_path: Path):
    def embedding(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"embedding": tf.reduce_mean(tf.cast(images, tf.float32), axis=(1, 2))}

    fixed = tf.TensorSpec((3, 48, 48, 3), tf.uint8, name="images")
    network = embedder.load(saved(tmp_path / "fixed", embedding, fixed))
    assert (network.image_size, network.batch_size) == (48, 3)
    network.check(image_size=48, batch_size=3)
    free = tf.TensorSpec((None, None, None, 3), tf.uint8, name="images")
    network = embedder.load(saved(tmp_path / "free", embedding, free))
    assert (network.image_size, network.batch_size) == (SIZE, 64)


def test_a_saved_model_of_something_else_is_refused(tmp_path: Path):
    def logits(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"logits": pixels}

    folder = saved(tmp_path, logits, tf.TensorSpec((None, 4), name="pixels"))
    with pytest.raises(ValueError, match="takes `images` .* takes pixels and gives logits"):
        embedder.load(folder)


def saved(folder: Path, function, spec: tf.TensorSpec) -> Path:
    """Writes a SavedModel of one signature, with a pcd.json."""
    signature = tf.function(function, input_signature=[spec])
    tf.saved_model.save(tf.Module(), str(folder), signatures=signature)
    (folder / "pcd.json").write_text(json.dumps({"image_size": SIZE}))
    return folder


def test_what_is_none_of_these_is_refused_with_what_was_meant(workdir: Path, tmp_path: Path):
    def refuses(folder: Path, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            embedder.load(folder)

    refuses(tmp_path / "gone", "Expected the workdir of a finished .* which is no directory")
    refuses(tmp_path, "none of these, or a run that is not finished")
    refuses(workdir / "student", f"Did you mean {workdir}\\?")
    (tmp_path / "teacher").mkdir()
    (tmp_path / "teacher" / "teacher.json").write_text("{}")
    refuses(tmp_path, f"Did you mean {tmp_path / 'teacher'}\\?")
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "pcd.json").write_text("{}")
    refuses(tmp_path / "onnx", "another format: export with --format=saved_model")


def test_a_damaged_saved_model_is_a_short_error(saved_model: Path, tmp_path: Path):
    copy = shutil.copytree(saved_model, tmp_path / "copy")
    (copy / "saved_model.pb").write_bytes(b"\x0a\xff\xff")
    with pytest.raises(
        ValueError, match=r"saved_model\.pb to have the SHA-256 that.*another content"
    ):
        embedder.load(copy)
    (copy / digests.NAME).unlink()
    with pytest.raises(ValueError, match="Expected a SavedModel that loads"):
        embedder.load(copy)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "expected an object { }, received a list"),
        ("{}", "missing required field image_size"),
        ('{"image_size": true}', r"\.image_size: .* received true or false"),
        ('{"image_size": -1}', r"\.image_size: expected a whole number >= 1"),
    ],
)
def test_a_description_of_another_form_is_a_short_error(
    saved_model: Path, tmp_path: Path, content: str, message: str
):
    copy = shutil.copytree(saved_model, tmp_path / "copy")
    (copy / "pcd.json").write_text(content)
    with pytest.raises(ValueError, match=rf"description of an export.*pcd\.json.*{message}"):
        embedder.load(copy)
    (copy / "pcd.json").unlink()
    with pytest.raises(ValueError, match=r"description of an export.*pcd\.json, which is no file"):
        embedder.load(copy)
