"""PyTorch's files, opened without running anything that they hold. Needs PyTorch."""

import collections
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pcd_tf.errors import UserError
from pcd_tf.weights import _pickles, bounds

# Classes of what published checkpoints hold beside arrays. None of them is made: a stand-in takes
# what they would be made of, and keeps nothing. A class of any other name is refused.
_HARMLESS = (
    # The command line (DINO's `args`).
    "argparse.Namespace",
    # Paths of the data and of the run.
    *(f"pathlib.{pure}{system}Path" for pure in ("", "Pure") for system in ("Posix", "Windows")),
    *(f"pathlib._local.{system}Path" for system in ("Posix", "Windows")),  # Python 3.13
    # NumPy's scalars (`best_acc1`), of NumPy 1 and 2.
    "numpy.dtype",
    *(f"numpy.{module}.multiarray.scalar" for module in ("core", "_core")),
    *(f"numpy.dtypes.{kind}DType" for kind in ("Bool", "Int32", "Int64", "Float32", "Float64")),
    # Settings kept by OmegaConf, and the types that its nodes name.
    "omegaconf.dictconfig.DictConfig",
    "omegaconf.listconfig.ListConfig",
    *(f"omegaconf.base.{name}" for name in ("ContainerMetadata", "Metadata")),
    *(f"omegaconf.nodes.{kind}Node" for kind in ("Any", "String", "Integer", "Float", "Boolean")),
    "typing.Any",
    *(f"builtins.{name}" for name in ("dict", "list", "str", "int", "float", "bool")),
    # Of Lightning's `callbacks` and `loops`, the time of a run.
    "datetime.timedelta",
    "datetime.datetime",
)
_NUM_PICKLES = 5  # magic number, version, machine, content, names of arrays: torch.serialization
# Lightning's `hyper_parameters`, a dict with another name, which is made as a plain one.
_DICTS = (
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "lightning.pytorch.utilities.parsing.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "lightning.fabric.utilities.data.AttributeDict",
)


def load(file: Path) -> Mapping[Any, Any]:
    """Loads the dict that a file holds: tensors, numbers, texts, and dicts of them.

    The arrays of a zip file, PyTorch's format since 1.6, are mapped and not copied: what is not
    used of them (an optimizer's state) takes no memory.

    Raises:
        UserError: when PyTorch is missing, the file is damaged, holds what would run code, unpacks
            to more than its size allows, or holds no dict.
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
        _check_pickles(file)
        if is_zip:
            _check_sums(file)
        with torch.serialization.safe_globals(_stand_ins()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old formats: either they load or the error says it
            content = torch.load(file, map_location="cpu", weights_only=True, mmap=is_zip)
    except UserError:
        raise
    except Exception as error:  # a damaged pickle can end in nearly any of them
        raise UserError(_why_not_loaded(file, error)) from error
    if not isinstance(content, Mapping):
        raise UserError(
            f"Expected a dict of arrays. Received: {file}, a {type(content).__name__}: save the "
            "network's state_dict()."
        )
    return content


def to_array(value: Any, *, name: str, num_bytes_left: int) -> npt.NDArray[Any] | None:
    """Gives a tensor as an array, floating point as float32; None for what is no tensor.

    Raises:
        UserError: when the tensor is no plain one (sparse, quantized, without values), or larger
            than the file has room for: one number can be declared to be as many as one likes.
    """
    import torch

    if not isinstance(value, torch.Tensor):
        return None
    if value.layout != torch.strided or value.is_quantized or value.is_meta:
        raise UserError(
            f"Expected dense arrays of numbers. Received: {name}, of {value.layout}, "
            f"{value.dtype}, on {value.device}: save it as a plain tensor."
        )
    if 4 * value.numel() > num_bytes_left:
        raise UserError(
            f"Expected arrays of no more numbers than the file has room for. Received: {name}, of "
            f"shape {tuple(value.shape)}. It is damaged or made to do harm: fetch it anew from a "
            "source that you trust."
        )
    value = value.detach()
    return np.asarray(value.float() if value.is_floating_point() else value)


def _check_sums(file: Path) -> None:
    """Finds damage inside arrays, which PyTorch itself does not look for."""
    bounds.check_zip(file)
    with zipfile.ZipFile(file) as archive:
        if damaged := archive.testzip():
            raise zipfile.BadZipFile(f"wrong checksum of {damaged}")


def _check_pickles(file: Path) -> None:
    """Looks through a file's pickles: one in an archive, several in a row in the older format."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                if name.endswith("data.pkl"):
                    with archive.open(name) as member:
                        _pickles.check(member, file)
        return
    with file.open("rb") as stream:
        for _ in range(_NUM_PICKLES):
            _pickles.check(stream, file)


class _StandIn:
    """Takes the place of an object that is not made, and keeps nothing of it."""

    def __new__(cls, *arguments: Any) -> "_StandIn":
        del arguments
        return super().__new__(cls)

    def __init__(self, *arguments: Any) -> None:
        del arguments

    def __setstate__(self, state: Any) -> None:
        del state


def _stand_ins() -> list[Any]:
    """Lists what PyTorch is to take for each class: pairs of a class and the name in the file."""
    dicts = [(collections.OrderedDict, name) for name in _DICTS]
    defaultdict = (_dict, "collections.defaultdict")
    return [*((_StandIn, name) for name in _HARMLESS), *dicts, defaultdict]


def _dict(*default: Any) -> dict[Any, Any]:
    """Makes a defaultdict, without its default."""
    del default
    return {}


def _why_not_loaded(file: Path, error: Exception) -> str:
    text = str(error)
    if wanted := re.search(r"GLOBAL (\S+)|Unsupported class (\S+)", text):
        return (
            f"Expected a checkpoint of arrays alone. Received: {file}, in which stands "
            f"{wanted[1] or wanted[2]} as well. It is not loaded, as that would run its code; "
            "nothing was run. Where you trust the file, load it with the code that wrote it, and "
            "save the state_dict() alone."
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
