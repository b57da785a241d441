"""What evaluate refuses before anything is loaded."""

import pytest

from pcd_tf.configs.evaluate import Config


def test_defaults_work_with_a_network_and_a_folder(tmp_path):
    Config(init="random", data_dir=str(tmp_path)).validate()
    Config(init="random", probe="linear_dense", dataset="synthetic").validate()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"init": ""}, "init: expected a name or path. Received: nothing"),
        ({"probe": "kn"}, "probe: expected one of knn, linear.*Did you mean 'knn'"),
        ({"data_dir": None}, "data_dir: dataset=folder needs it"),
        ({"data_dir": None, "dataset": "png_maps"}, "data_dir: dataset=png_maps needs it"),
        ({"data_dir": "/no/such"}, "data_dir: expected an existing directory"),
        ({"image_size": 16}, "image_size: expected a whole number, at least 32"),
        ({"out": "/no/such/file.json"}, "out: expected a file in an existing directory"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, values, message):
    given = {"init": "random", "data_dir": str(tmp_path), **values}
    with pytest.raises(ValueError, match=message):
        Config(**given).validate()


def test_an_existing_file_is_left_alone(tmp_path):
    (tmp_path / "x.json").write_text("")
    with pytest.raises(ValueError, match="out: expected a new file"):
        Config(init="random", data_dir=str(tmp_path), out=str(tmp_path / "x.json")).validate()
