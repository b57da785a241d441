"""PyTorch's files, opened without running anything that they hold. Needs PyTorch."""

import argparse
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pcd_tf.errors import UserError


def load(file: Path) -> Mapping[Any, Any]:
    """Loads the dict that a file holds: tensors, numbers, texts, and dicts of them.

    The arrays of a zip file, PyTorch's format since 1.6, are mapped and not copied: what is not
    used of them (an optimizer's state) takes no memory.

    Raises:
        UserError: when PyTorch is missing, the file is damaged, wants to run code, or holds no
            dict.
    """
    try:
        import torch
    except ImportError as error:
        raise UserError(
            f"Reading {file} needs PyTorch, which is not installed: pip install torch. Or convert "
            "the file to safetensors where PyTorch is."
        ) from error
    is_zip = zipfile.is_zipfile(file)  # the format before is bare pickles, one after the other
    try:
        if is_zip:
            _check_sums(file)
        with torch.serialization.safe_globals(_harmless()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old formats: either they load or the error says it
            content = torch.load(file, map_location="cpu", weights_only=True, mmap=is_zip)
    except Exception as error:  # a damaged pickle can end in nearly any of them
        raise UserError(_why_not_loaded(file, error)) from error
    if not isinstance(content, Mapping):
        raise UserError(
            f"Expected a dict of arrays. Received: {file}, a {type(content).__name__}: save the "
            "network's state_dict()."
        )
    return content


def to_array(value: Any, *, name: str) -> npt.NDArray[Any] | None:
    """Gives a tensor as an array, floating point as float32; None for what is no tensor.

    Raises:
        UserError: when the tensor is no plain one (sparse, quantized, without values).
    """
    import torch

    if not isinstance(value, torch.Tensor):
        return None
    if value.layout != torch.strided or value.is_quantized or value.is_meta:
        raise UserError(
            f"Expected dense arrays of numbers. Received: {name}, of {value.layout}, "
            f"{value.dtype}, on {value.device}: save it as a plain tensor."
        )
    value = value.detach()
    return np.asarray(value.float() if value.is_floating_point() else value)


def _check_sums(file: Path) -> None:
    """Finds damage inside arrays, which PyTorch itself does not look for."""
    with zipfile.ZipFile(file) as archive:
        if damaged := archive.testzip():
            raise zipfile.BadZipFile(f"wrong checksum of {damaged}")


def _harmless() -> list[Any]:
    """Lists the classes, beyond PyTorch's own list, that published checkpoints hold beside arrays.

    Allowed, as making one does nothing but keep values: the command line (DINO's `args`) and NumPy
    scalars (`best_acc1`), whose function takes a dtype and bytes and is looked up under the name of
    NumPy 1 or of NumPy 2. NumPy arrays are not on the list, nor any other class.
    """
    scalar = np.float64(0).__reduce__()[0]
    kinds = ("bool", "int32", "int64", "float32", "float64")
    return [
        argparse.Namespace,
        np.dtype,
        *(type(np.dtype(kind)) for kind in kinds),
        (scalar, "numpy.core.multiarray.scalar"),
        (scalar, "numpy._core.multiarray.scalar"),
    ]


def _why_not_loaded(file: Path, error: Exception) -> str:
    text = str(error)
    if wanted := re.search(r"GLOBAL (\S+)|Unsupported class (\S+)", text):
        return (
            f"Expected a checkpoint of arrays alone. Received: {file}, which wants to run code: "
            f"{wanted[1] or wanted[2]}. Nothing was run. Trust it no further, or ask its authors "
            "for the state_dict() alone."
        )
    if "torchscript" in text.lower():
        return (
            f"Expected a checkpoint of arrays alone. Received: {file}, a TorchScript program: save "
            "its state_dict()."
        )
    # Behind this stands what was wrong; before it, how to load the file with its code after all.
    detail = text.rpartition("WeightsUnpickler error: ")[2].strip().partition("\n")[0][:120]
    return (
        f"Expected a whole PyTorch checkpoint. Received: {file}, {file.stat().st_size} bytes "
        f"({type(error).__name__}: {detail}). It was cut short, damaged or is of another format: "
        "fetch it anew."
    )
