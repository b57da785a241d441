"""Images with a class at every pixel, one source a file, and batches of them.

Importing this package loads no TensorFlow; a source's module is imported when it is built.

Example:
    source = pcd_tf.segmented.build("png_maps", data_dir="voc_mini", split="train")
    source.semantic_map(0)  # uint8 (H, W), 255 where no class is known
"""

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pcd_tf import outside, plugins

if TYPE_CHECKING:
    from pcd_tf.segmented._source import Source as Source

_PUBLIC = {
    "IGNORED": "_source",
    "Source": "_source",
    "batches": "_batches",
    "in_order": "_batches",
}

__all__ = ["build", "build_two", "names", *_PUBLIC]


def names() -> tuple[str, ...]:
    """Lists the sources: the values of `--dataset` for a segmenter."""
    return plugins.names(__name__)


def build(
    name: str,
    *,
    split: str,
    data_dir: str | None = None,
    class_names: Sequence[str] = (),
    seed: int = 0,
) -> "Source":
    """Opens a source of images and class maps by name.

    Args:
        name: one of `names()`.
        split: which part of it: "train", "val", ...
        data_dir: where its files are (png_maps, voc).
        class_names: where they are known, such as another split's (png_maps).
        seed: which synthetic world (synthetic).

    Raises:
        UserError: when there is no such source, nothing in it, or an image without a map; when the
            folder or the list of the split does not exist.
    """
    source: Source = plugins.load(__name__, name).build(
        split=split, data_dir=data_dir, class_names=class_names, seed=seed
    )
    return source


def build_two(
    name: str, splits: tuple[str, str], *, data_dir: str | None = None, seed: int = 0
) -> "tuple[Source, Source]":
    """Opens a split to learn from and one to score, and checks both before anything long.

    Their classes are found once, if need be in all maps.

    Raises:
        UserError: as `build` and `Source.check` do; when the two differ in their classes.
    """
    train = build(name, split=splits[0], data_dir=data_dir, seed=seed)
    names = train.class_names
    held_out = build(name, split=splits[1], data_dir=data_dir, class_names=names, seed=seed)
    outside.check_same_classes(train, held_out)
    train.check(to_learn=True)
    held_out.check(to_learn=False)
    return train, held_out


def __getattr__(name: str) -> Any:
    """Loads a public name on its first use (PEP 562)."""
    if name in _PUBLIC:
        return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
