"""A SavedModel as the backbone of a teacher."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
from keras import ops

from pcd_tf import digests, plugins
from pcd_tf.errors import UserError

SIGNATURE = "serving_default"
FOLDER = "saved_model"  # its name in the directory of a teacher
_PROGRAM = "saved_model.pb"


class SavedModel(keras.Model):
    """One map that a SavedModel computes, whatever framework it was made with.

    Its signature `serving_default` is what is called: one argument, images with the batch free. It
    runs as it was exported, for inference, and its variables are no Keras variables: the files are
    what is kept and compared. A SavedModel is a program: load only those that you trust. So Keras
    does not know this class: a `.keras` file or a teacher.json cannot ask for one of its choice.

    Shapes: B images of H x W pixels, sizes as the signature has them; C channels.

    Args:
        path: the directory with `saved_model.pb`.
        output: which output of the signature is the map; None when it has only one.

    Call arguments:
        inputs: float (B, H, W, 3); rounded for a signature that takes integers.

    Returns:
        float (B, h, w, C).

    Raises:
        UserError: when there is no SavedModel, or its signature is another.

    Example:
        SavedModel("runs/saved_model", "feature_map")
    """

    def __init__(
        self, path: str | os.PathLike[str], output: str | None = None, **kwargs: Any
    ) -> None:
        path = Path(path)
        program = _load(path)
        argument, spec = _argument(path, program)
        output = _output(path, program, output)
        images = keras.Input(spec.shape[1:], dtype="float32")
        call = _Call(_function(program, argument, spec.dtype.name, output))
        super().__init__(images, call(images), **kwargs)
        if len(self.output_shape) != 4 or self.output_shape[-1] is None:
            raise UserError(
                f"Expected a map (B, h, w, C), C known. Received: {path}, whose output {output} "
                f"is of shape {self.output_shape}."
            )
        self.directory = path
        self.output_name = output
        self.takes_integers = spec.dtype.is_integer

    def copy_to(self, directory: Path) -> None:
        """Copies the SavedModel into the directory of a teacher."""
        shutil.copytree(self.directory, directory / FOLDER)

    def files(self) -> list[Path]:
        """Lists what the map depends on, in an order of its own."""
        folders = (self.directory / "variables", self.directory / "assets")
        return [
            self.directory / _PROGRAM,
            *(f for folder in folders for f in sorted(folder.rglob("*")) if f.is_file()),
        ]

    def get_config(self) -> dict[str, Any]:
        """Says what `in_teacher` needs; the path it knows."""
        return {"output": self.output_name}


class _Call(keras.layers.Layer):
    """A function as a layer, in which Keras finds no weights."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__(trainable=False, dtype="float32", name="call")
        self.function = function

    def call(self, inputs: Any) -> Any:
        return self.function(inputs)


def in_teacher(folder: Path, config: dict[str, Any]) -> SavedModel | None:
    """Loads the copy in a teacher's directory; None where the backbone is no SavedModel."""
    if config.get("class_name") != SavedModel.__name__:
        return None
    arguments = config.get("config")
    output = arguments.get("output") if isinstance(arguments, dict) else None
    return SavedModel(folder / FOLDER, output, name="backbone")


def is_saved_model(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a directory with a SavedModel in it."""
    return (Path(path) / _PROGRAM).is_file()


def _load(path: Path) -> keras.layers.TFSMLayer:
    digests.check(path)
    try:
        return keras.layers.TFSMLayer(str(path), call_endpoint=SIGNATURE, trainable=False)
    except Exception as error:  # damaged files raise TensorFlow's own errors too
        raise UserError(
            f"Expected a SavedModel with the signature {SIGNATURE}. Received: {path}, which does "
            f"not load ({' '.join(str(error).split())})."
        ) from error


def _signature(program: keras.layers.TFSMLayer) -> Any:
    """The function with its specs: the layer shows one of the same name that may have none."""
    return program._reloaded_obj.signatures[SIGNATURE]


def _argument(path: Path, program: keras.layers.TFSMLayer) -> tuple[str, Any]:
    """Returns the name and the spec of the signature's one argument."""
    arguments = _signature(program).structured_input_signature[1]
    (name, spec), *more = arguments.items()
    shape = tuple(spec.shape)
    if more or len(shape) != 4 or shape[0] is not None or shape[3] not in (3, None):
        received = {name: tuple(spec.shape) for name, spec in arguments.items()}
        raise UserError(
            f"Expected a signature {SIGNATURE} of one argument, images (B, H, W, 3), B free. "
            f"Received: {path} with {received}: export it so."
        )
    return name, spec


def _output(path: Path, program: keras.layers.TFSMLayer, name: str | None) -> str:
    """Returns the name of the output that is the map."""
    specs = _signature(program).structured_outputs
    outputs = {output: tuple(spec.shape) for output, spec in specs.items()}
    if name is None and len(outputs) == 1:
        return next(iter(outputs))
    if name is None or name not in outputs:
        received = "no name" if name is None else f"{name!r}"
        raise UserError(
            f"Expected the name of an output of {path}, out of {outputs}. Received: {received}."
            f"{plugins.did_you_mean(name or '', outputs)} Name the map by --teacher_map."
        )
    return name


def _function(
    program: keras.layers.TFSMLayer, argument: str, dtype: str, output: str
) -> Callable[[Any], Any]:
    """The call of the signature; it holds the program, whose variables live as long as it does."""

    def compute(images: Any) -> Any:
        if not dtype.startswith("float"):
            images = ops.clip(ops.round(images), 0, 255)
        return _signature(program)(**{argument: ops.cast(images, dtype)})[output]

    return compute
