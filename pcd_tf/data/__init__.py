"""Images, and what is known of them: one source a file, one stream for all.

A source has images, some of one class each; objects on images (boxes and masks); or a class at
every pixel. Importing this package loads no TensorFlow; a source's module is imported when it is
built.

Example:
    source = pcd_tf.data.build("folder", data_dir="~/photos", seed=0)
    batches = pcd_tf.data.two_views(
        source, pcd_tf.data.BYOL, image_size=224, global_batch_size=64, seed=0
    )
    next(iter(batches))["images"]  # uint8 (64, 2, 224, 224, 3)
"""

import importlib
from typing import TYPE_CHECKING, Any

from pcd_tf import plugins
from pcd_tf.errors import UserError

if TYPE_CHECKING:
    from pcd_tf.data._source import Source as Source

_PUBLIC = {
    "BYOL": "_recipe",
    "MOCO_V3": "_recipe",
    "Recipe": "_recipe",
    "ViewRecipe": "_recipe",
    "DecodeError": "_decode",
    "check_images": "_headers",
    "check_size": "_headers",
    "in_threads": "_headers",
    "open_image": "_decode",
    "size_of": "_headers",
    "decode": "_decode",
    "set_max_pixels": "_decode",
    "MAX_PIXELS": "_decode",
    "SUFFIXES": "_decode",
    "Source": "_source",
    "centre_crop": "_ordered",
    "noted": "_source",
    "images_in_order": "_ordered",
    "identity": "_names",
    "plain_images": "_ordered",
    "directories": "_tree",
    "python_function": "_python_function",
    "two_views": "_views",
}

__all__ = ["build", "names", *_PUBLIC]


# Which sources there are, each a module of this package, and what each can be built as.
_SOURCES = {
    "folder": ("images",),
    "synthetic": ("images",),
    "tfds": ("images",),
}


def names(what: str = "images") -> tuple[str, ...]:
    """Lists the sources that can be built as "images", "annotated" or "segmented"."""
    return tuple(name for name, known in _SOURCES.items() if what in known)


def build(
    name: str,
    *,
    data_dir: str | None = None,
    tfds_name: str | None = None,
    split: str = "train",
    seed: int = 0,
    download: bool = True,
) -> "Source":
    """Opens a source of images by name; each source takes what it needs of the settings.

    Args:
        name: one of `names()`.
        data_dir: the directory tree of images, or several between commas (folder), or where TFDS
            keeps its data (tfds).
        tfds_name: the TensorFlow Datasets name, such as "cifar10" or "voc/2012" (tfds).
        split: the split to read (tfds, synthetic).
        seed: which synthetic world (synthetic).
        download: whether a dataset that is not prepared is downloaded and prepared (tfds).

    Raises:
        UserError: when there is no such source, or it has no image that could be used; when the
            folder does not exist; when the dataset is not prepared, and cannot or must not be
            (tfds).
    """
    return _module(name, "images").build(
        data_dir=data_dir, tfds_name=tfds_name, split=split, seed=seed, download=download
    )


def _module(name: str, what: str) -> Any:
    choices = names(what)
    if name not in choices:
        raise UserError(
            f"Expected a source of {what}: {', '.join(choices)}. "
            f"Received: {name!r}.{plugins.did_you_mean(name, choices)}"
        )
    return importlib.import_module(f"{__name__}.{name}")


def __getattr__(name: str) -> Any:
    """Loads a public name on its first use (PEP 562)."""
    if name in _PUBLIC:
        return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
