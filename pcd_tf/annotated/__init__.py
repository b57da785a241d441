"""Images with annotated objects, one source a file, and the batches that detectors learn from.

Importing this package loads no TensorFlow; a source's module is imported when it is built.

Example:
    source = pcd_tf.annotated.build("coco_json", data_dir="~/coco", split="train2017")
    batches = pcd_tf.annotated.batches(
        source, pcd_tf.annotated.Augmentation(), image_size=512, global_batch_size=16, seed=0
    )
    next(iter(batches))["boxes"]  # float32 (16, 100, 4)
"""

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pcd_tf import plugins

if TYPE_CHECKING:
    from pcd_tf.annotated._source import Source as Source

_PUBLIC = {
    "Augmentation": "_augmentation",
    "NONE": "_augmentation",
    "MAX_OBJECTS": "_source",
    "Objects": "_source",
    "Source": "_source",
    "batches": "_batches",
    "in_order": "_ordered",
}

__all__ = ["build", "names", *_PUBLIC]


def names() -> tuple[str, ...]:
    """Lists the sources of annotated images."""
    return plugins.names(__name__)


def build(
    name: str,
    *,
    data_dir: str | None = None,
    split: str,
    annotations: str | None = None,
    class_names: Sequence[str] = (),
    tfds_name: str | None = None,
    seed: int = 0,
) -> "Source":
    """Opens a source of annotated images by name; each takes what it needs of the settings.

    Args:
        name: one of `names()`.
        data_dir: the directory of the images (coco_json), of the dataset (voc), or where TFDS keeps
            its data (tfds).
        split: which part: "train", "val", "test" or as the dataset calls it.
        annotations: the JSON file; by default it is looked for below data_dir (coco_json).
        class_names: those asked for, in their order, where a file may have any (coco_json).
        tfds_name: the TensorFlow Datasets name, such as "coco/2017" or "voc/2012" (tfds).
        seed: which synthetic world (synthetic).

    Raises:
        UserError: when there is no such source, it has no image, or its annotations are wrong; when
            a file or directory does not exist; when the dataset is not prepared, and cannot be
            (tfds).
    """
    module = plugins.load(__name__, name)
    return module.build(
        data_dir=data_dir,
        split=split,
        annotations=annotations,
        class_names=class_names,
        tfds_name=tfds_name,
        seed=seed,
    )


def __getattr__(name: str) -> Any:
    """Loads a public name on its first use (PEP 562)."""
    if name in _PUBLIC:
        return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
