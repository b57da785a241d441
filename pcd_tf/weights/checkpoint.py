"""Checkpoint files of any kind -> flat named arrays, without running anything that they hold."""

import os
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes  # registers bfloat16 with NumPy, which safetensors asks for by that name
import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from pcd_tf.errors import UserError
from pcd_tf.weights import _pytorch, bounds

Array = npt.NDArray[Any]

_DATA_PARALLEL = "module"  # what DataParallel and DistributedDataParallel put into every name
# Dicts may hold the same dict over and over. Whole checkpoints, optimizers too, have some 10,000
# names of 100 characters, five dicts deep.
_MAX_CHARACTERS = 20_000_000
_MAX_DEPTH = 50
_NOT_CHECKPOINTS = {  # what stands in a file when its download went wrong
    b"<!doctype": "is a web page",
    b"<html": "is a web page",
    b"<?xml": "is the answer of a server, most often a refusal",
    b"version https://git-lfs": "is a Git LFS pointer (git lfs pull fetches the file itself)",
}


def read(path: str | os.PathLike[str]) -> dict[str, Array]:
    """Reads all arrays of a checkpoint, by their dotted names.

    Nested dicts are flattened, and the `module.` of DataParallel is taken out of every name:
    `state_dict.module.momentum_encoder.conv1.weight` comes back as
    `state_dict.momentum_encoder.conv1.weight`. What is no array (the epoch, settings) is left out.
    No code of the file is run, whatever it holds.

    Args:
        path: a file of PyTorch (`.pth`, `.pth.tar`, `.pt`, Lightning's `.ckpt`, Hugging Face's
            `.bin`; needs PyTorch), `.safetensors` or `.npz`.

    Returns:
        names -> arrays; all floating point is float32.

    Raises:
        UserError: when the file is missing, cut short, damaged, of another kind, holds what would
            run code, or asks for more memory than its size allows; when PyTorch is needed and
            missing; when it holds no array, or two come to the same name.

    Example:
        read("r-50-1000ep.pth.tar")["state_dict.momentum_encoder.conv1.weight"].shape
    """
    file = Path(path)
    suffix = next((suffix for suffix in _READERS if file.name.lower().endswith(suffix)), None)
    if not file.is_file():
        what = "which is a directory" if file.is_dir() else "which does not exist"
        raise UserError(f"Expected a checkpoint file. Received: {file}, {what}.")
    if suffix is None:
        raise UserError(
            f"Expected a checkpoint that ends in {', '.join(_READERS)}. Received: {file}: give it "
            "the ending of its format."
        )
    _refuse_failed_download(file)
    arrays: dict[str, Array] = {}
    for name, array in _READERS[suffix](file):
        if name in arrays:
            raise UserError(
                f"Expected arrays with names of their own. Received: {file}, where two come to "
                f"{name} once `{_DATA_PARALLEL}.` is taken out."
            )
        arrays[name] = array
    if not arrays:
        raise UserError(f"Expected a checkpoint with arrays. Received: {file}, which holds none.")
    return arrays


def _refuse_failed_download(file: Path) -> None:
    with file.open("rb") as opened:
        start = opened.read(64).lstrip().lower()
    reason = "is empty" if not start else None
    for sign, meaning in _NOT_CHECKPOINTS.items():
        reason = meaning if start.startswith(sign) else reason
    if reason:
        raise UserError(f"Expected a checkpoint. Received: {file}, which {reason}: fetch it anew.")


def _read_torch(file: Path) -> Iterator[tuple[str, Array]]:
    num_bytes_left = bounds.limit(file)
    for name, value in _flat(_pytorch.load(file), file):
        label = f"{name} in {file}"
        array = _pytorch.to_array(value, name=label, num_bytes_left=num_bytes_left)
        if array is not None:
            num_bytes_left -= array.nbytes
            yield name, _numbers(array)


def _read_safetensors(file: Path) -> Iterator[tuple[str, Array]]:
    try:
        arrays = safetensors.numpy.load_file(file)
    except Exception as error:  # a type that NumPy lacks is no SafetensorError
        raise UserError(
            f"Expected a whole safetensors file. Received: {file}, {file.stat().st_size} bytes "
            f"({_in_one_line(error)}). It was cut short, damaged or is of another format: fetch it "
            "anew."
        ) from error
    for name, array in _flat(arrays, file):
        yield name, _numbers(array)


def _read_npz(file: Path) -> Iterator[tuple[str, Array]]:
    name = ""
    try:
        bounds.check_zip(file)
        with zipfile.ZipFile(file), np.load(file, allow_pickle=False) as archive:
            for name in archive.files:
                array = archive[name]
                if array.dtype.kind in "fiub":
                    yield _without_data_parallel(name), _numbers(array)
    except UserError:
        raise
    except Exception as error:  # a damaged archive can end in nearly any of them
        where = f" at {name}" if name else ""
        raise UserError(
            f"Expected a whole .npz of plain arrays. Received: {file}, {file.stat().st_size} bytes"
            f"{where} ({_in_one_line(error)}). It was cut short, damaged or holds pickled objects, "
            "which are never opened: write or fetch it anew."
        ) from error


_READERS = {
    ".pth": _read_torch,
    ".pth.tar": _read_torch,
    ".pt": _read_torch,
    ".ckpt": _read_torch,  # Lightning's
    ".bin": _read_torch,  # Hugging Face's pytorch_model.bin
    ".safetensors": _read_safetensors,
    ".npz": _read_npz,
}


def _flat(content: Mapping[Any, Any], file: Path) -> Iterator[tuple[str, Any]]:
    """Yields the dotted name and value of all that is no dict itself."""
    waiting = [("", content, {id(content)})]  # no recursion, and no dict inside itself
    num_characters = 0
    while waiting:
        prefix, mapping, ancestors = waiting.pop()
        for key, value in mapping.items():
            name = f"{prefix}.{key}" if prefix else str(key)
            num_characters += len(name) + 1
            if num_characters > _MAX_CHARACTERS or len(ancestors) > _MAX_DEPTH:
                raise UserError(
                    f"Expected dicts at most {_MAX_DEPTH} deep, with names of at most "
                    f"{_MAX_CHARACTERS} characters together. Received: {file} with more. It is "
                    "damaged or made to do harm: fetch it anew from a source that you trust."
                )
            if not isinstance(value, Mapping):
                yield _without_data_parallel(name), value
            elif id(value) not in ancestors:
                waiting.append((name, value, ancestors | {id(value)}))


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _without_data_parallel(name: str) -> str:
    return ".".join(part for part in name.split(".") if part != _DATA_PARALLEL)


def _numbers(array: Any) -> Array:
    """As NumPy; floating point of any width as float32."""
    numbers = np.asarray(array)
    is_floating = numbers.dtype.kind == "f" or numbers.dtype == ml_dtypes.bfloat16
    return numbers.astype(np.float32, copy=False) if is_floating else numbers
