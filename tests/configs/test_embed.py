"""What embed asks of its settings."""

import importlib
import sys

import pytest

from pcd_tf.configs.embed import Config


@pytest.fixture
def given(tmp_path):
    """Settings that can work."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "model").mkdir()
    return {
        "data_dir": str(tmp_path / "photos"),
        "model": str(tmp_path / "model"),
        "out": str(tmp_path / "new" / "out.npz"),
    }


def test_both_suffixes_are_accepted(given, tmp_path, monkeypatch):
    Config(**given).validate()
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", importlib)  # whether installed or not
    monkeypatch.setitem(sys.modules, "pyarrow", importlib)
    Config(**given | {"out": str(tmp_path / "out.parquet")}).validate()


def test_a_split_is_for_sources_that_have_some(given):
    Config(**given | {"data_dir": None, "dataset": "synthetic", "split": "val"}).validate()
    with pytest.raises(ValueError, match=r"split: dataset=folder has no splits"):
        Config(**given, split="train").validate()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data_dir": None}, "data_dir: dataset=folder needs it"),
        ({"data_dir": "gone"}, r"data_dir: expected an existing directory\. Received: 'gone'"),
        ({"dataset": "synthetic"}, "data_dir: dataset=synthetic reads no files"),
        ({"tfds_name": "cifar10"}, "tfds_name: dataset=folder has no use for it"),
        ({"model": "gone"}, r"model: expected an existing directory\. Received: 'gone'"),
        ({"out": "out.csv"}, r"out: expected a name .* \.npz or \.parquet\. Received: out\.csv"),
        ({"out": ""}, r"out: expected a path\. Received: nothing"),
        ({"batch_size": 0}, "batch_size: expected a whole number, at least 1"),
        ({"image_size": 31}, "image_size: expected .* at least 32"),
    ],
)
def test_what_cannot_work_is_named(given, changes, message):
    with pytest.raises(ValueError, match=message):
        Config(**given | changes).validate()


def test_what_stands_at_out_is_not_overwritten(given, tmp_path):
    (tmp_path / "old.npz").write_text("precious")
    with pytest.raises(ValueError, match=r"out: expected a new file\. Received: .*old\.npz"):
        Config(**given | {"out": str(tmp_path / "old.npz")}).validate()


def test_parquet_without_pyarrow_names_the_command(given, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ValueError, match=r'out: .*pip install "pyarrow<26".* import of pyarrow'):
        Config(**given | {"out": "out.parquet"}).validate()
    Config(**given).validate()
