"""A user's Keras model: a .keras file, or a function that makes it."""

import contextlib
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import keras

from pcd_tf.errors import UserError
from pcd_tf.weights import keras_file


def read(reference: str) -> keras.Model:
    """Reads `FILE.keras`, or calls `package.module:function`.

    Raises:
        UserError: when there is no such file, module or function, it does not load, or it gives no
            keras.Model.
    """
    if reference.endswith(keras_file.SUFFIX):
        return keras_file.read(reference)
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
            f"Expected FILE.keras, or package.module:function. Received: {reference!r}."
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
