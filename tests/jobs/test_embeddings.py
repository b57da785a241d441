"""The two kinds of file hold the same table."""

import json
from pathlib import Path

import numpy as np
import pytest

from pcd_tf.jobs._embeddings import Block, Table, write

NAMES = ["a/1.jpg", "ü b.png", "a much longer name than the others/2.jpg", "x", "y"]
VECTORS = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
LABELS = np.array([0, 1, -1, 1, 0])
METADATA = {"image_size": 32, "skipped": ["bröken.jpg"]}


def table(class_names=("cat", "hund")) -> Table:
    def blocks():
        for start, stop in ((0, 2), (2, 5)):
            yield Block(NAMES[start:stop], VECTORS[start:stop], LABELS[start:stop])

    return Table(blocks, class_names, METADATA)


def test_an_npz_is_read_by_numpy_without_pickle(tmp_path: Path):
    write(table(), tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz", allow_pickle=False) as file:
        assert set(file.files) == {"embeddings", "names", "labels", "class_names", "metadata"}
        np.testing.assert_array_equal(file["embeddings"], VECTORS)
        assert file["embeddings"].dtype == np.float32
        assert file["names"].tolist() == NAMES
        np.testing.assert_array_equal(file["labels"], LABELS)
        assert file["class_names"].tolist() == ["cat", "hund"]
        assert json.loads(str(file["metadata"])) == METADATA


def test_a_parquet_file_holds_the_same(tmp_path: Path):
    parquet = pytest.importorskip("pyarrow.parquet", exc_type=ImportError)
    write(table(), tmp_path / "x.parquet")
    read = parquet.read_table(tmp_path / "x.parquet")
    assert read.column_names == ["name", "embedding", "label"]
    assert read["name"].to_pylist() == NAMES
    assert str(read.schema.field("embedding").type) == "fixed_size_list<element: float>[3]"
    vectors = np.array(read["embedding"].to_pylist(), np.float32)
    np.testing.assert_array_equal(vectors, VECTORS)
    assert read["label"].to_pylist() == LABELS.tolist()
    metadata = json.loads(read.schema.metadata[b"pcd_tf"])
    assert metadata == METADATA | {"class_names": ["cat", "hund"]}


def test_without_classes_there_are_no_labels(tmp_path: Path):
    write(table(()), tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz") as file:
        assert set(file.files) == {"embeddings", "names", "metadata"}
    parquet = pytest.importorskip("pyarrow.parquet", exc_type=ImportError)
    write(table(()), tmp_path / "x.parquet")
    assert parquet.read_table(tmp_path / "x.parquet").column_names == ["name", "embedding"]
