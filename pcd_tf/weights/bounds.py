"""How much memory a file of weights may ask for: a multiple of its size on disk.

A file of a few kilobytes can describe a network of terabytes. So what it asks for is added up from
its headers and its configuration, before anything is made of it.
"""

import concurrent.futures
import math
import traceback
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
from keras.src.backend.common import global_state

from pcd_tf import records
from pcd_tf.errors import UserError

# float8 that is read as float32 makes 4; each array under two names, as teacher and student, 2;
# compression another 2, for trained weights hardly compress.
_TIMES = 16
# Bytes that any file may ask for: a network without weights of its own, or zeros, which compress
# a thousand times.
_ALWAYS = 2**28
# Bytes that a variable and its layer take beside the values, roughly: a million layers of one
# channel come to an end too.
_OF_A_LAYER = 2**17
_NOT_THE_USERS = frozenset({"keras", "keras_cv", "keras_hub", "keras_nlp"})  # Keras loads them
_MAKES_VALUES = "create a variable while in a stateless scope"  # Keras, of one made of an array


def limit(path: Path) -> int:
    """Returns how many bytes a file, or a directory, may ask for."""
    files = path.rglob("*") if path.is_dir() else [path]
    return max(_ALWAYS, _TIMES * sum(file.stat().st_size for file in files if file.is_file()))


def check(num_bytes: int, path: Path, what: str) -> None:
    """Raises a UserError when a part of a file asks for more than the file may."""
    if num_bytes > limit(path):
        raise UserError(
            f"Expected weights that take at most {limit(path) / 2**20:,.0f} MiB of memory, "
            f"{_TIMES} times their size on disk or {_ALWAYS / 2**20:.0f} MiB. Received: {path}, of "
            f"which {what} would take {num_bytes / 2**20:,.0f} MiB or more. It is damaged or made "
            "to do harm: fetch it anew from a source that you trust."
        )


def check_zip(file: Path) -> None:
    """Refuses an archive that unpacks to more than its size allows; bytes that are none pass."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            check(sum(x.file_size for x in archive.infolist()), file, "the unpacked archive")


def check_h5(file: Path) -> None:
    """Refuses an HDF5 file whose arrays, unpacked, are larger than its size allows."""
    with h5py.File(file, "r") as opened:
        check(_declared(opened), file, "the arrays")


def check_keras(file: Path) -> None:
    """Refuses a `.keras` file whose archive, network or arrays are larger than its size allows."""
    check_zip(file)
    with zipfile.ZipFile(file) as archive:
        config = records.parse(
            archive.read("config.json"),
            dict[str, Any],
            what="a model's configuration",
            origin=f"config.json in {file}",
        )
        for name in archive.namelist():
            if name.endswith(".h5"):
                with archive.open(name) as member, h5py.File(member, "r") as opened:
                    check(_declared(opened), file, "the arrays")
    config["compile_config"] = None  # as load_model(compile=False) does
    check_network(lambda: keras.saving.deserialize_keras_object(config, safe_mode=True), file)


def check_network(build: Callable[[], keras.Model], path: Path) -> None:
    """Refuses a network that is larger than the file of its weights allows.

    Its variables are counted without their values: no memory is taken for them.

    Args:
        build: makes the network; what it raises is passed on.
        path: the file of the weights, or the directory that holds it.

    Raises:
        UserError: when it is larger, or a layer of Keras or KerasHub makes variables of values,
            which end the count.
    """
    counter = _Counter(limit(path))
    custom_objects = global_state.get_global_attribute("custom_objects_scope_dict", {})

    def count() -> None:
        global_state.set_global_attribute("uninitialized_variables", counter)
        keras.config.disable_traceback_filtering()  # for `_maker`
        with (
            keras.saving.custom_object_scope(custom_objects),
            keras.StatelessScope(initialize_variables=False),
        ):
            build()

    # In a thread of its own: there Keras keeps the variables that wait for their values, the
    # numbers that it gives to names, and the filter of tracebacks, so this thread has none of them.
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        try:
            thread.submit(count).result()
        except Exception as error:
            if counter.num_bytes <= counter.most:
                if _MAKES_VALUES not in str(error):
                    raise
                # A layer of the user's own, whose code is trusted, may make a variable of an array.
                if (maker := _maker(error)) in _NOT_THE_USERS:
                    raise UserError(
                        "Expected a network whose variables can be counted before they are made. "
                        f"Received: {path}, in which {maker} makes one of values: for a stateful "
                        "layer, or a compiled model in a model. Save it without."
                    ) from error
    check(counter.num_bytes, path, "the network")


def _maker(error: Exception) -> str:
    """The package whose code made the variable that raised an error."""
    modules = [f.f_globals["__name__"] for f, _ in traceback.walk_tb(error.__traceback__)]
    makers = [name for name in modules if not name.startswith("keras.src.backend.")]
    return str(makers[-1].partition(".")[0])


class _Counter(list):
    """Keras's list of variables without values; it stops the making of too many."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most
        self.num_bytes = 0

    def append(self, variable: keras.Variable) -> None:
        super().append(variable)
        self.num_bytes += _OF_A_LAYER + 4 * math.prod(variable.shape)  # float32
        if self.num_bytes > self.most:
            raise MemoryError("variables larger than the file of their values")


def _declared(opened: h5py.File) -> int:
    """The bytes of all arrays as an HDF5 file declares them, of which none is read."""
    sizes = []

    def visit(name: str, item: Any) -> None:
        del name
        if isinstance(item, h5py.Dataset):
            sizes.append(math.prod(item.shape or ()) * item.dtype.itemsize)

    opened.visititems(visit)
    return sum(sizes)
