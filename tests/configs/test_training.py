"""What the training jobs share: schedule lengths and settings that do not go together."""

import pytest

from pcd_tf.configs.pretrain import Config


def config(**values):
    return Config(**{"workdir": "runs/teacher", **values})


def problems(**values):
    with pytest.raises(ValueError, match="cannot work") as caught:
        config(**values).validate()
    return str(caught.value).split("\n  ")[1:]


def test_the_only_thing_to_give_is_a_workdir():
    config().validate()
    assert problems(workdir="") == ["workdir: expected a directory. Received: nothing."]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, 1000),
        ({"num_epochs": 3}, 30),
        ({"num_steps": 7}, 7),
        ({"num_epochs": 1, "global_batch_size": 600}, 2),
        ({"num_epochs": 1, "global_batch_size": 6400}, 1),
    ],
)
def test_total_steps(values, expected):
    assert config(**{"global_batch_size": 64, **values}).total_steps(num_examples=640) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, 100),
        ({"num_epochs": 1000}, 100),
        ({"num_epochs": 20}, 20),
        ({"num_steps": 50}, 5),
        ({"num_steps": 5}, 0),
        ({"warmup_epochs": 0}, 0),
        ({"warmup_epochs": 2.5}, 25),
        ({"num_steps": 50, "warmup_epochs": 4}, 40),
    ],
)
def test_warmup_steps(values, expected):
    assert config(global_batch_size=64, **values).warmup_steps(num_examples=640) == expected


def test_a_warmup_that_leaves_nothing_of_the_run_is_refused():
    with pytest.raises(ValueError, match="run of 50 steps. Received: 5 epochs, which are 50 steps"):
        config(global_batch_size=64, num_steps=50, warmup_epochs=5).warmup_steps(num_examples=640)
    assert problems(num_epochs=5, warmup_epochs=5) == [
        "warmup_epochs: expected fewer than the 5 epochs of the run. Received: 5."
    ]
    assert "100 epochs" in problems(warmup_epochs=100)[0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"dataset": "folder"}, "data_dir: dataset=folder needs it."),
        ({"dataset": "tfds"}, "tfds_name: dataset=tfds needs it."),
        ({"tfds_name": "coco"}, "tfds_name: dataset=synthetic has no use for it."),
        ({"data_dir": "x"}, "data_dir: dataset=synthetic reads no files."),
        ({"dataset": "folder", "data_dir": "/no/such"}, "an existing directory. Received: '/no/"),
        ({"dataset": "foldr"}, "Did you mean 'folder'?"),
        ({"num_epochs": 1, "num_steps": 1}, "num_steps: give this or num_epochs, not both."),
        (
            {"num_epochs": 0},
            "num_epochs: expected a whole number, at least 1, at most 1000000. Received: 0.",
        ),
        ({"image_size": 100}, "a multiple of 32, at least 32, at most 8192. Received: 100."),
        ({"image_size": 0}, "image_size: "),
        ({"global_batch_size": 1}, "at least 2, at most 1048576. Received: 1."),
        ({"learning_rate": 0.0}, "learning_rate: expected a number, above 0, at most 1000."),
        ({"weight_decay": -1e-6}, "weight_decay: expected a number, at least 0, at most 1."),
        ({"seed": -1}, "seed: "),
        ({"seed": 2**32}, "at most 4294967295. Received: 4294967296."),
        ({"strategy": "mirored"}, "Did you mean 'mirrored'?"),
        ({"precision": "bfloat16"}, "Did you mean 'mixed_bfloat16'?"),
        ({"num_virtual_devices": 0}, "num_virtual_devices: "),
        ({"num_virtual_devices": 2, "strategy": "one_device"}, "uses only one"),
        (
            {"num_virtual_devices": 3, "global_batch_size": 64},
            "global_batch_size: expected a multiple of num_virtual_devices=3, 63 for example. "
            "Received: 64.",
        ),
    ],
)
def test_one_bad_value_is_one_problem(values, message):
    (found,) = problems(**values)
    assert message in found


def test_a_workdir_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    assert "Received a file" in problems(workdir=str(tmp_path / "file"))[0]


def test_several_directories_are_accepted_when_all_exist(tmp_path):
    (tmp_path / "a").mkdir()
    config(dataset="folder", data_dir=f"{tmp_path},{tmp_path}/a").validate()
    (found,) = problems(dataset="folder", data_dir=f"{tmp_path},{tmp_path}/b")
    assert found.endswith(f"expected an existing directory. Received: '{tmp_path}/b'.")


def test_data_that_exists_is_accepted(tmp_path):
    config(dataset="folder", data_dir=str(tmp_path)).validate()
    config(dataset="tfds", tfds_name="coco").validate()
    config(dataset="tfds", tfds_name="coco", data_dir="gs://tfds-data").validate()
