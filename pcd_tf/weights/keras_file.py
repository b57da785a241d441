"""A `.keras` file: read without running what is in it, or refused with what would help."""

import os
import re
import zipfile
from pathlib import Path
from typing import Any

import keras

from pcd_tf import files
from pcd_tf.errors import UserError
from pcd_tf.weights import bounds

SUFFIX = ".keras"
_UNKNOWN = r"Could not locate (\w+ '[^']+')"  # Keras, of a class that is not registered
_CODE = "safe_mode=False"  # Keras, in the remedy that it gives for code in a file


def read(path: str | os.PathLike[str]) -> keras.Model:
    """Reads a `.keras` file; nothing in it is run as code.

    Raises:
        UserError: when there is no such file, it is damaged or larger in memory than its size
            allows, or holds code, no model, or a layer of a class that Keras does not know.

    Example:
        read("encoder.keras")
    """
    file = Path(path)
    if file.suffix != SUFFIX or not files.is_file(file) or not zipfile.is_zipfile(file):
        what = "does not exist"
        if file.exists():
            what = "is no .keras file or is damaged: save the model again, model.save('FILE.keras')"
        raise UserError(f"Expected a model that Keras saved. Received: {file}, which {what}.")
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
    text = " ".join(str(error).split())
    if _CODE in text:
        return (
            f"Expected a model of layers alone. Received: {file}, which holds code that loading it "
            "would run, such as a Lambda layer: put layers or keras.ops in its place."
        )
    if unknown := re.search(_UNKNOWN, text):
        return (
            f"Expected a model of classes that Keras knows. Received: {file}, with the "
            f"{unknown[1]}: register it with keras.saving.register_keras_serializable, and import "
            "its module before. A student can be package.module:function as well, a teacher a "
            "SavedModel."
        )
    return (
        f"Expected a whole model that Keras saved. Received: {file}, {file.stat().st_size} bytes "
        f"({type(error).__name__}: {text[:200]}). It was cut short, damaged or is of another "
        "Keras: write or copy it again."
    )
