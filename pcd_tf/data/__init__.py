"""Images and what is known of them: a module for each source, one stream for all.

A source has images, maybe with one class each; objects on images (boxes and masks); or a class at
every pixel. Importing this package loads no TensorFlow; building a source imports its module.

Example:
    source = pcd_tf.data.build("folder", data_dir="~/photos", seed=0)
    batches = pcd_tf.data.two_views(
        source, pcd_tf.data.BYOL, image_size=224, global_batch_size=64, seed=0
    )
    next(iter(batches))["images"]  # uint8 (64, 2, 224, 224, 3)
"""

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pcd_tf import outside, plugins
from pcd_tf.errors import UserError

if TYPE_CHECKING:
    from pcd_tf.data._annotated import Annotated as Annotated
    from pcd_tf.data._segmented import Segmented as Segmented
    from pcd_tf.data._source import Source as Source

_PUBLIC = {
    "BYOL": "_recipe",
    "Annotated": "_annotated",
    "Annotation": "_annotated",
    "Augmentation": "_annotated_batches",
    "NO_AUGMENTATION": "_annotated_batches",
    "annotated_batches": "_annotated_batches",
    "annotated_images": "_annotated_batches",
    "annotated_in_order": "_annotated_batches",
    "boxes_in_image": "_resize",
    "fitted": "_resize",
    "letterbox": "_resize",
    "MOCO_V3": "_recipe",
    "Recipe": "_recipe",
    "ViewRecipe": "_recipe",
    "DecodeError": "_decode",
    "FileSource": "_files",
    "Segmented": "_segmented",
    "PREPARED": "_records",
    "Prepared": "_records",
    "Shard": "_records",
    "Opener": "_shards",
    "ShardTask": "_shards",
    "describe_records": "_records",
    "shard_file": "_records",
    "written": "_shards",
    "decode": "_decode",
    "set_max_pixels": "_decode",
    "MAX_PIXELS": "_decode",
    "Source": "_source",
    "centre_crop": "_ordered",
    "class_maps": "_segmented_batches",
    "noted": "_source",
    "segmented_batches": "_segmented_batches",
    "segmented_in_order": "_segmented_batches",
    "images_in_order": "_ordered",
    "identity": "_names",
    "plain_images": "_ordered",
    "directories": "_tree",
    "two_views": "_views",
}

__all__ = [
    "CONTENTS",
    "IGNORED",
    "LARGEST_SIDE",
    "build",
    "build_annotated",
    "build_segmented",
    "build_segmented_two",
    "names",
    *_PUBLIC,
]

# The longest side of what is prepared, in pixels: 2^24 of them are decoded side by side at most.
LARGEST_SIDE = 4096
IGNORED = 255  # the class of a pixel that is neither learnt nor counted, as in PASCAL VOC
# What a source can have beside pixels: at most one class an image, objects, or a class a pixel.
CONTENTS = ("images", "annotated", "segmented")
# Each source is a module of this package; it can be built as one or more of these.
_SOURCES = {
    "coco_json": ("annotated",),
    "folder": ("images",),
    "png_maps": ("segmented",),
    "synthetic": ("images", "annotated", "segmented"),
    "tfds": ("images", "annotated"),
    "tfrecord": ("images", "annotated", "segmented"),
    "voc": ("annotated", "segmented"),
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
        data_dir: the directory of the images, or several between commas (folder); where TFDS keeps
            its data (tfds); the directory of the records (tfrecord).
        tfds_name: the TensorFlow Datasets name, such as "cifar10" or "voc/2012" (tfds).
        split: the split to read (tfds, tfrecord, synthetic).
        seed: which synthetic world (synthetic).
        download: whether a dataset that is not prepared is downloaded and prepared (tfds).

    Raises:
        UserError: when there is no such source, directory, dataset or split, or no image in it.
    """
    return _module(name, "images").build(
        data_dir=data_dir, tfds_name=tfds_name, split=split, seed=seed, download=download
    )


def build_annotated(
    name: str,
    *,
    data_dir: str | None = None,
    split: str,
    annotations: str | None = None,
    class_names: Sequence[str] = (),
    tfds_name: str | None = None,
    seed: int = 0,
) -> "Annotated":
    """Opens a source of annotated images by name; each takes what it needs of the settings.

    Args:
        name: one of `names("annotated")`.
        data_dir: as for `build`, the directory of the images (coco_json) or of the dataset (voc).
        split: which part: "train", "val", "test" or as the dataset calls it.
        annotations: the JSON file; by default it is looked for below data_dir (coco_json).
        class_names: those asked for, in their order, where a file may have any (coco_json).
        tfds_name: as for `build`.
        seed: as for `build`.

    Raises:
        UserError: as `build`, and when an annotation is wrong.
    """
    return _module(name, "annotated").build_annotated(
        data_dir=data_dir,
        split=split,
        annotations=annotations,
        class_names=class_names,
        tfds_name=tfds_name,
        seed=seed,
    )


def build_segmented(
    name: str,
    *,
    split: str,
    data_dir: str | None = None,
    class_names: Sequence[str] = (),
    seed: int = 0,
) -> "Segmented":
    """Opens a source of images and class maps by name; each takes what it needs.

    Args:
        name: one of `names("segmented")`.
        split: which part of it: "train", "val", ...
        data_dir: where its files are (png_maps, voc, tfrecord).
        class_names: where they are known, such as another split's (png_maps).
        seed: which synthetic world (synthetic).

    Raises:
        UserError: as `build`, and when an image has no map.
    """
    return _module(name, "segmented").build_segmented(
        split=split, data_dir=data_dir, class_names=class_names, seed=seed
    )


def build_segmented_two(
    name: str, splits: tuple[str, str], *, data_dir: str | None = None, seed: int = 0
) -> "tuple[Segmented, Segmented]":
    """Opens a split to learn from and one to score, and checks both.

    The second has the classes of the first, which are looked for once.

    Raises:
        UserError: as `build_segmented` and `Segmented.check` do; when the two differ in their
            classes.
    """
    train = build_segmented(name, split=splits[0], data_dir=data_dir, seed=seed)
    held_out = build_segmented(
        name, split=splits[1], data_dir=data_dir, class_names=train.class_names, seed=seed
    )
    outside.check_same_classes(train, held_out)
    train.check(to_learn=True)
    held_out.check(to_learn=False)
    return train, held_out


def _module(name: str, what: str) -> Any:
    choices, kind = names(what), what if what == "images" else f"{what} images"
    if name not in choices:
        raise UserError(
            f"Expected a source of {kind}: {', '.join(choices)}. "
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
