"""Files of embeddings: .npz and Parquet, written block by block."""

import dataclasses
import json
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclasses.dataclass(frozen=True)
class Block:
    """Some rows of the table: the names, embeddings and labels of n images, C channels.

    Args:
        names: of the images.
        embeddings: float32 (n, C).
        labels: int64 (n,), -1 where an image has none.
    """

    names: Sequence[str]
    embeddings: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Table:
    """All rows, in blocks, so that no more than a block lies in memory.

    Args:
        blocks: makes an iterator over the blocks, none of them empty; called several times.
        class_names: those that labels are indices into; empty where there are no labels.
        metadata: what else there is to say, JSON values.
    """

    blocks: Callable[[], Iterable[Block]]
    class_names: Sequence[str]
    metadata: Mapping[str, Any]


def write(table: Table, file: Path) -> None:
    """Writes a table as the file's suffix says.

    `.npz`, for `np.load`: "embeddings" float32 (N, C), "names" str (N,), with classes "labels"
    int64 (N,) and "class_names" str, and "metadata", JSON in a str (). Uncompressed.

    `.parquet`: columns `name`, `embedding`, a list of C float32, and with classes `label`; the
    metadata, class_names in it, is JSON under the schema's key `pcd_tf`.
    """
    {".npz": _npz, ".parquet": _parquet}[file.suffix](table, file)


def _npz(table: Table, file: Path) -> None:
    write_header: Any = np.lib.format.write_array_header_2_0
    num_rows = num_channels = longest = 0
    for block in table.blocks():
        num_rows += len(block.names)
        num_channels = block.embeddings.shape[1]
        longest = max(longest, max(len(name) for name in block.names))
    with zipfile.ZipFile(file, "w", allowZip64=True) as archive:

        def add(name: str, shape: tuple[int, ...], dtype: Any, arrays: Iterable[Any]) -> None:
            header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
            entry = zipfile.ZipInfo(f"{name}.npy")  # of no date: equal contents, equal files
            with archive.open(entry, "w", force_zip64=True) as stream:
                write_header(stream, header)
                for array in arrays:
                    stream.write(np.ascontiguousarray(array, dtype).tobytes())

        blocks = table.blocks
        embeddings = (block.embeddings for block in blocks())
        add("embeddings", (num_rows, num_channels), "<f4", embeddings)
        add("names", (num_rows,), f"<U{longest}", (block.names for block in blocks()))
        if table.class_names:
            add("labels", (num_rows,), "<i8", (block.labels for block in blocks()))
            classes = np.array(table.class_names)
            add("class_names", classes.shape, classes.dtype, [classes])
        metadata = np.array(json.dumps(table.metadata))
        add("metadata", (), metadata.dtype, [metadata])


def _parquet(table: Table, file: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    num_channels = next(iter(table.blocks())).embeddings.shape[1]
    fields = [("name", pa.string()), ("embedding", pa.list_(pa.float32(), num_channels))]
    if table.class_names:
        fields.append(("label", pa.int64()))
    metadata = {**table.metadata, "class_names": list(table.class_names)}
    schema = pa.schema(fields, {"pcd_tf": json.dumps(metadata)})
    with parquet.ParquetWriter(file, schema) as writer:
        for block in table.blocks():
            flat = pa.array(block.embeddings.ravel())  # (n * C,)
            columns = [
                pa.array(block.names, pa.string()),
                pa.FixedSizeListArray.from_arrays(flat, num_channels),
                pa.array(block.labels),
            ]
            writer.write_table(pa.Table.from_arrays(columns[: len(fields)], schema=schema))
