"""A user's own Keras model: a .keras file, or a function of a module that makes one."""

import tempfile
from collections.abc import Mapping

import keras
import numpy as np

from pcd_tf.errors import UserError
from pcd_tf.students import _cut, _directory, _sources
from pcd_tf.weights import keras_file

# Pixels a side of the images to try a network with: a multiple of strides up to 64, and of 14.
_SIDE = 448
# Of the largest value: above float32's rounding, far below what another argument does.
_TOLERANCE = 1e-4


def build(
    *,
    model: str | None = None,
    pyramid: Mapping[str, str] | None = None,
    image_size: int | None = None,
) -> keras.Model:
    """Makes a backbone of a user's network, up to its last map; see `_cut.backbone`.

    Args:
        model: a .keras file, or package.module:function, called without arguments; the current
            directory is importable. It takes normalised images, so it must not normalise them.
        pyramid: level -> layer; the coarsest is the map that is distilled. None finds them.
        image_size: side of the images that it will be given, pixels; checked when given.

    Raises:
        UserError: when there is no such model, it is no backbone, does not take such images, or
            would not be the same when it is saved and read again.
    """
    if model is None:
        raise UserError("Expected model, a .keras file or package.module:function. Received: None.")
    backbone = _cut.backbone(_sources.read(model), pyramid)
    if image_size is not None:
        _check_takes(backbone, image_size)
    _check_can_be_saved(backbone, image_size or _SIDE)
    for layer in backbone._flatten_layers():
        layer.trainable = True  # a file keeps what its last training froze; a student learns whole
    if model.endswith(keras_file.SUFFIX):
        policy = keras.config.dtype_policy()
        for layer in backbone._flatten_layers():  # a file keeps the precision it was saved in
            layer.dtype_policy = policy
    return backbone


def _check_takes(backbone: keras.Model, image_size: int) -> None:
    images = keras.KerasTensor((1, image_size, image_size, 3), backbone.inputs[0].dtype)
    function = keras.Function(backbone.inputs[0], backbone.outputs[0])
    try:
        shape = function.compute_output_spec(images).shape
    except Exception as error:  # a layer bound to a size can raise anything
        shape = str(error).strip().partition("\n")[0][:200]
    if isinstance(shape, str) or 0 in shape:
        raise UserError(
            f"Expected a model for images of {image_size} x {image_size} pixels, the image_size. "
            f"Received: {backbone.name}, which gives for them: {shape}."
        )


def _check_can_be_saved(backbone: keras.Model, side: int) -> None:
    """Finds out before the training, not after it."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            _directory.save(backbone, folder)
            again = _directory.load(folder)
        except Exception as error:  # a user's layer can raise anything
            reason = str(error).replace(f"{folder}/", "")
            raise UserError(
                "Expected a model that can be saved and read again. Received: "
                f"{backbone.name}, which cannot: {reason}"
            ) from error
    images = np.random.default_rng(0).normal(size=(2, side, side, 3)).astype("float32")
    with _directory.in_float32(backbone):
        expected, received = (np.asarray(x(images, training=False)) for x in (backbone, again))
    off = np.inf
    if received.shape == expected.shape:
        off = np.max(np.abs(received - expected)) / max(np.max(np.abs(expected)), 1e-12)
    if not off <= _TOLERANCE:
        raise UserError(
            "Expected a model that is the same when it is saved and read again. Received: "
            f"{backbone.name}, whose map is then off by {off:.1e} of its largest value: a "
            "layer's get_config loses an argument, or a layer holds values that are no weights."
        )
