"""Networks that give each pixel a class, on a backbone; one file each.

A segmenter is a module with one function, `network(backbone, levels, num_classes)`: the backbone
and its symbolic maps by level, "P2" (B, H / 4, W / 4, C2) up to "P5", -> a functional model, of
normalised images -> logits (B, h, w, K) of any size.
"""

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pcd_tf import plugins

if TYPE_CHECKING:
    import keras
    import numpy as np
    import numpy.typing as npt

    from pcd_tf.data import Segmented
    from pcd_tf.segmenters._segmenter import Segmenter as Segmenter


def names() -> tuple[str, ...]:
    """Lists the segmenters: choices of `--model`."""
    return plugins.names(__name__)


def build(
    name: str,
    backbone: "keras.Model",
    *,
    class_names: Sequence[str],
    mean: Sequence[float],
    std: Sequence[float],
) -> "Segmenter":
    """Builds a segmenter on a backbone, which becomes part of it.

    Args:
        name: one of `names()`.
        backbone: normalised images -> map; its levels are found by `pcd_tf.students.pyramid`.
        class_names: of the ids 0, 1, ...
        mean: per channel, of RGB images in 0..255, that images are normalised with.
        std: likewise.

    Raises:
        ValueError: when there is no such segmenter, or the backbone lacks a level that it needs.

    Example:
        model = build("fcn", backbone, class_names=["cell", "rest"], mean=mean, std=std)
    """
    from pcd_tf.segmenters import _segmenter

    module = plugins.load(__name__, name)
    return _segmenter.Segmenter(
        backbone, module.network, class_names=class_names, mean=mean, std=std, name=name
    )


def classes(
    model: "Segmenter", source: "Segmented", *, image_size: int, batch_size: int
) -> Iterator["npt.NDArray[np.uint8]"]:
    """Finds the class of every pixel of every image of a source.

    Args:
        model: as `build` returns it, trained.
        source: the images.
        image_size: S that the images are fitted into, pixels.
        batch_size: images at a time.

    Yields:
        uint8 (H, W) for each image in order, at its own size: an index into `class_names`.
    """
    from pcd_tf.segmenters import _evaluation

    yield from _evaluation.classes(model, source, image_size=image_size, batch_size=batch_size)


def export(model: "Segmenter", directory: str | os.PathLike[str], *, image_size: int) -> None:
    """Writes a segmenter as a SavedModel that needs TensorFlow alone; see `_saved_model.py`.

    Args:
        model: as `build` returns it, trained.
        directory: to write to.
        image_size: S that it was trained on, pixels.
    """
    from pcd_tf.segmenters import _saved_model

    _saved_model.write(model, directory, image_size=image_size)
