"""A user's Keras model: a .keras file, or a function that makes it."""

import contextlib
import importlib
import os
import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import keras

from pcd_tf.errors import UserError
from pcd_tf.weights import bounds

SUFFIX = ".keras"
_UNKNOWN = r"Could not locate (\w+ '[^']+')"  # Keras, of a class that is not registered


def read(reference: str) -> keras.Model:
    """Reads `FILE.keras`, or calls `package.module:function`.

    Raises:
        UserError: when there is no such file, module or function, it does not load, or it gives no
            keras.Model.
    """
    if reference.endswith(SUFFIX):
        return read_file(reference)
    module, _, name = reference.partition(":")
    function = getattr(_import_module(reference), name, None)
    if not callable(function):
        raise UserError(
            f"Expected a function that makes the student. Received: {reference}, but the module "
            f"{module} has none of the name {name!r}."
        )
    with _current_directory_importable():
        try:
            model = function()
        except Exception as error:  # a user's function can raise anything
            raise UserError(
                f"Expected {reference}() to make a keras.Model. It raised "
                f"{type(error).__name__}: {error}"
            ) from error
    if not isinstance(model, keras.Model):
        raise UserError(
            f"Expected {reference}() to return a keras.Model. Received: a {type(model).__name__}."
        )
    return model


def _import_module(reference: str) -> ModuleType:
    """Imports the module of `package.module:function`, from the current directory too.

    Raises:
        UserError: when there is no such module, or it cannot be imported.
    """
    name, separator, _ = reference.partition(":")
    if not separator or not all(part.isidentifier() for part in name.split(".")):
        raise UserError(
            f"Expected FILE{SUFFIX}, or package.module:function. Received: {reference!r}."
        )
    with _current_directory_importable():
        try:
            return importlib.import_module(name)
        except Exception as error:  # a user's module can raise anything
            is_missing = isinstance(error, ModuleNotFoundError) and name.startswith(str(error.name))
            raise UserError(
                f"Expected a module {name!r}, for {reference}. There is none in {Path.cwd()} nor "
                "installed: run from where it is, or install it."
                if is_missing
                else f"Expected a module that can be imported, for {reference}. It raised "
                f"{type(error).__name__}: {error}"
            ) from error


def read_file(path: str | os.PathLike[str]) -> keras.Model:
    """Reads a .keras file; nothing in it is run as code.

    Raises:
        UserError: when there is no such file, it is damaged, holds a Lambda, or a layer of a class
            that Keras does not know.
    """
    file = Path(path)
    if not file.is_file() or not zipfile.is_zipfile(file):
        what = "which is no .keras file or is damaged" if file.exists() else "which does not exist"
        raise UserError(f"Expected a model that Keras saved. Received: {file}, {what}.")
    try:
        bounds.check_keras(file)
        model: Any = keras.saving.load_model(file, compile=False, safe_mode=True)
    except UserError:
        raise
    except Exception as error:  # a damaged file can end in nearly any of them
        raise UserError(_why_not_loaded(file, error)) from error
    if not isinstance(model, keras.Model):
        raise UserError(f"Expected a keras.Model. Received: {file}, a {type(model).__name__}.")
    return model


def is_of_unknown_class(error: BaseException | None) -> bool:
    """Tells whether a model did not load because Keras does not know a class of it."""
    while error is not None and not re.search(_UNKNOWN, str(error)):
        error = error.__cause__
    return error is not None


def _why_not_loaded(file: Path, error: Exception) -> str:
    text = str(error).strip()
    first = text.partition("\n")[0][:200]
    if "lambda" in text.lower() and "safe_mode" in text.lower().replace("safe mode", "safe_mode"):
        return (
            f"Expected a model of layers alone. Received: {file}, which holds a Lambda, code that "
            "is not run from a file: write a layer of your own, register it with "
            "keras.saving.register_keras_serializable, and name the function that makes the model, "
            "package.module:function."
        )
    if unknown := re.search(_UNKNOWN, text):
        return (
            f"Expected a model of classes that Keras knows. Received: {file}, with the "
            f"{unknown[1]}: register it with keras.saving.register_keras_serializable, and name "
            "the function that makes the model, package.module:function; or import its module "
            "before."
        )
    return (
        f"Expected a whole model that Keras saved. Received: {file}, {file.stat().st_size} bytes "
        f"({type(error).__name__}: {first}). It was cut short, damaged or is of another Keras: "
        "write or copy it again."
    )


@contextlib.contextmanager
def _current_directory_importable() -> Iterator[None]:
    """The current directory comes last, so that it hides no installed module."""
    here = str(Path.cwd())
    if here in sys.path:
        yield
        return
    sys.path.append(here)
    try:
        yield
    finally:
        sys.path.remove(here)
