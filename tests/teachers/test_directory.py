"""A teacher's directory is written whole, and refused when it is not whole."""

import importlib
import json

import keras
import keras_hub
import numpy as np
import pytest

from pcd_tf import digests, teachers
from pcd_tf.teachers._teacher import Teacher
from pcd_tf.weights import arrays


@pytest.fixture
def teacher():
    """A toy of the same kinds of parts: one block a stack."""
    backbone = keras_hub.models.ResNetBackbone([64], [7], [64, 64], [1, 1], [1, 2], "basic_block")
    layers = [keras.layers.Dense(8, name="dense_0"), keras.layers.BatchNormalization(name="norm_0")]
    head = keras.Sequential([keras.Input((64,)), *layers], name="head")
    return Teacher("toy", backbone, head, mean=(1, 2, 3), std=(4, 5, 6), origin="a test")


@pytest.fixture
def saved(teacher, tmp_path):
    teacher.save(tmp_path / "teacher")
    return tmp_path / "teacher"


def test_it_holds_files_that_others_can_read(saved):
    names = {path.name for path in saved.iterdir()}
    assert names == {"teacher.json", "weights.safetensors", digests.NAME}
    description = json.loads((saved / "teacher.json").read_text())
    assert description["version"] == 1
    assert (description["name"], description["origin"]) == ("toy", "a test")
    assert (description["mean"], description["std"]) == ([1.0, 2.0, 3.0], [4.0, 5.0, 6.0])
    weights = arrays.read(saved / "weights.safetensors")
    assert weights["backbone/conv1_conv/kernel"].shape == (7, 7, 3, 64)
    assert weights["head/dense_0/kernel"].shape == (64, 8)


def test_the_depth_of_a_students_head_is_kept(teacher, tmp_path):
    other = Teacher("toy", teacher.backbone, teacher.head, student_layers=4)
    other.save(tmp_path / "teacher")
    assert teachers.load(tmp_path / "teacher").with_gates("pixel").student_layers == 4


def test_a_teacher_of_before_students_had_its_depth_is_loaded(saved):
    path = saved / "teacher.json"
    description = json.loads(path.read_text())
    del description["student_layers"]
    path.write_text(json.dumps(description))
    assert teachers.load(saved).student_layers == 2  # its head has one layer: two at least


def test_saving_is_all_or_nothing(teacher, tmp_path, monkeypatch):
    monkeypatch.setattr(json, "dumps", fail)  # after the weights are written
    with pytest.raises(OSError, match="disk full"):
        teacher.save(tmp_path / "teacher")
    assert list(tmp_path.iterdir()) == []


def test_overwriting_is_all_or_nothing(teacher, saved, monkeypatch):
    before = (saved / "weights.safetensors").read_bytes()
    teacher.head.layers[0].bias.assign(np.ones(8))
    with monkeypatch.context() as patch:
        patch.setattr(json, "dumps", fail)
        with pytest.raises(OSError, match="disk full"):
            teacher.save(saved, overwrite=True)
    assert (saved / "weights.safetensors").read_bytes() == before
    teacher.save(saved, overwrite=True)
    assert (saved / "weights.safetensors").read_bytes() != before
    assert list(saved.parent.iterdir()) == [saved]


def test_an_earlier_teacher_is_not_overwritten_by_accident(teacher, saved):
    with pytest.raises(ValueError, match="Expected a new or empty directory"):
        teacher.save(saved)


def test_damage_to_the_weights_is_noticed(saved):
    path = saved / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=r"weights\.safetensors to have the SHA-256 that.*another cont"
    ):
        teachers.load(saved)


@pytest.fixture
def without_digests(saved):
    """A directory as earlier releases wrote it."""
    (saved / digests.NAME).unlink()
    return saved


def test_a_compiled_network_loads(teacher, tmp_path):
    teacher.head.compile("adam", "mse")
    teacher.save(tmp_path / "compiled")
    assert teachers.load(tmp_path / "compiled").fingerprint() == teacher.fingerprint()


def test_a_directory_without_digests_loads(teacher, without_digests):
    assert teachers.load(without_digests).fingerprint() == teacher.fingerprint()


def test_a_truncated_file_of_weights_is_refused(without_digests):
    path = without_digests / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"weights\.safetensors, .* bytes .*cut short"):
        teachers.load(without_digests)


def test_no_file_of_weights_is_refused(without_digests):
    (without_digests / "weights.safetensors").unlink()
    with pytest.raises(ValueError, match=r"weights\.safetensors, which does not exist"):
        teachers.load(without_digests)


def without_an_array(weights):
    del weights["head/norm_0/moving_mean"]


def with_one_too_many(weights):
    weights["head/dense_1/kernel"] = weights["head/dense_0/kernel"]


def of_another_shape(weights):
    weights["head/dense_0/kernel"] = weights["head/dense_0/kernel"][:32]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without_an_array, "missing: head/norm_0/moving_mean"),
        (with_one_too_many, "left over: head/dense_1/kernel"),
        (of_another_shape, r"head/dense_0/kernel \(expected \(64, 8\), received \(32, 8\)\)"),
    ],
)
def test_weights_of_another_network_are_refused(without_digests, spoil, message):
    weights = arrays.read(without_digests / "weights.safetensors")
    spoil(weights)
    arrays.write(without_digests / "weights.safetensors", weights)
    with pytest.raises(ValueError, match=rf"weights\.safetensors with .*{message}"):
        teachers.load(without_digests)


def test_no_description_is_refused(saved):
    (saved / "teacher.json").unlink()
    with pytest.raises(
        ValueError,
        match=r"a teacher that pretrain or convert wrote.*teacher\.json, which is no file\.$",
    ):
        teachers.load(saved)


def test_a_directory_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"Received: .*nowhere/teacher\.json, which is no file"):
        teachers.load(tmp_path / "nowhere")


def test_the_workdir_of_a_run_gets_the_directory_in_it(saved):
    with pytest.raises(ValueError, match=rf"Did you mean {saved}\?"):
        teachers.load(saved.parent)


def test_a_description_cut_short_is_refused(saved):
    path = saved / "teacher.json"
    path.write_text(path.read_text()[:-20])
    with pytest.raises(ValueError, match=r"Received: .*teacher\.json \(Unterminated string"):
        teachers.load(saved)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("version", 2, r"\.version: invalid enum value 2"),
        ("name", ["toy"], r"\.name: expected text, received a list"),
        ("mean", [1, 2], r"\.mean: expected a list of length 3, received 2"),
        ("mean", [1, 2, True], r"\.mean\[2\]: expected a number, received true or false"),
        ("std", [1, "2", 3], r"\.std\[1\]: expected a number, received text"),
        ("backbone", None, r"\.backbone: expected an object \{ \}, received null"),
        ("student_layers", 10**9, r"\.student_layers: expected a whole number <= 10"),
    ],
)
def test_a_description_of_another_form_is_refused_by_the_path_of_the_field(
    saved, key, value, message
):
    change(saved, lambda description: description.update({key: value}))
    with pytest.raises(ValueError, match=rf"format version 1\. Received: .*{message}") as caught:
        teachers.load(saved)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["[]", "{}", "[" * 100_000, '{"version": 1' + "0" * 5000 + "}"])
def test_what_is_no_description_is_refused(saved, content):
    (saved / "teacher.json").write_text(content)
    with pytest.raises(ValueError, match=r"format version 1\. Received: "):
        teachers.load(saved)


def test_a_description_without_a_part_is_refused(saved):
    change(saved, lambda description: description.pop("std"))
    with pytest.raises(ValueError, match=r"teacher\.json \(object missing required field std"):
        teachers.load(saved)


def test_a_network_larger_than_its_weights_allow_is_refused_before_it_is_made(saved):
    def widen(description):
        description["head"]["config"]["layers"][1]["config"]["units"] = 10**9
        description["head"]["config"]["layers"].pop()  # of another width

    change(saved, widen)
    with pytest.raises(ValueError, match=r"at most 256 MiB of memory.* the network would take"):
        teachers.load(saved)


def test_a_network_that_cannot_be_built_is_refused(saved):
    change(saved, lambda description: description["backbone"]["config"].pop("block_type"))
    with pytest.raises(ValueError, match=r"to describe a Model\. Received: what this"):
        teachers.load(saved)


def test_a_description_of_something_else_is_refused(saved):
    change(saved, lambda description: description.update(backbone=description["head"]))
    with pytest.raises(ValueError, match=r"gives a map \(B, h, w, C\)\. Received: head that gives"):
        teachers.load(saved)
    change(
        saved,
        lambda description: description.update(head=description["head"]["config"]["layers"][1]),
    )
    with pytest.raises(ValueError, match=r"to describe a Sequential\. Received: a Dense"):
        teachers.load(saved)


def test_another_teacher_than_asked_for_is_refused(saved):
    with pytest.raises(ValueError, match="Expected the teacher moco_v3_resnet50.*which holds toy"):
        teachers.load(saved, "moco_v3_resnet50")


def change(saved, edit):
    description = json.loads((saved / "teacher.json").read_text())
    edit(description)
    (saved / "teacher.json").write_text(json.dumps(description))


def fail(*_, **__):
    raise OSError("disk full")


def test_classes_of_this_project_are_known_to_keras_before_they_are_looked_for(saved, monkeypatch):
    """A process that only loads has imported none of them."""
    asked: list[str] = []
    monkeypatch.setattr(importlib, "import_module", asked.append)
    change(saved, lambda description: description["backbone"].update(module="pcd_tf.backbones.vit"))
    change(saved, lambda description: description["head"].update(module="os.path"))
    with pytest.raises(ValueError, match="Received: what this version of Keras cannot build"):
        teachers.load(saved)
    assert asked == ["pcd_tf.backbones.vit"]  # and nothing that is not the project's
