"""`--dataset=folder`: the images of directory trees."""

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pcd_tf import outside
from pcd_tf.data import _tree
from pcd_tf.data._decode import SUFFIXES
from pcd_tf.data._files import FileSource
from pcd_tf.errors import UserError

_SPLIT = re.compile(r"(train(ing)?|val(id(ation)?)?|test(ing)?)\d*", re.IGNORECASE)
_MAPS = "_sem"  # behind a split's name, the folder of its class maps: see png_maps.py


def build(*, data_dir: str | None = None, **_: object) -> "FolderSource":
    """Opens the directory tree `data_dir`, or several between commas."""
    if data_dir is None:
        raise UserError("Expected data_dir, the directory of the images. Received: None.")
    return FolderSource(data_dir)


class FolderSource(FileSource):
    """Image files of directory trees, at any depth, sorted by path.

    All kinds are read that `decode` knows; what else lies there is counted in `left_out`. Where all
    images lie in two or more folders at the top, these are the classes, unless they are called as
    splits are (train, val). Hidden files and folders are left out, links followed. An unreadable
    file's place is taken by the next readable one.

    Args:
        data_dir: the directory, or several between commas, each with its own folders at the top; a
            directory whose own name holds a comma is one. `~` is expanded.

    Raises:
        UserError: when there is no such directory; when it holds no image.

    Example:
        source = FolderSource("~/photos")
        source.open(0, 0).show()
    """

    def __init__(self, data_dir: str | os.PathLike[str]) -> None:
        self._roots = _tree.directories(data_dir)
        for root in self._roots:
            if not root.is_dir():
                found = "a file" if root.exists() else "nothing at that path"
                raise UserError(
                    f"Expected data_dir to be a directory of images. Received: {root} ({found})."
                )
        images, left_out = _tree.find(self._roots)
        name = ", ".join(map(str, self._roots))
        if not any(images):
            others = ", ".join(f"{count} {kind}" for kind, count in left_out.items())
            raise UserError(
                f"Expected images ({' '.join(sorted(SUFFIXES))}, at any depth) in {name}. "
                f"Received: none, and {others or 'nothing else'}. Is it the right directory?"
            )
        # Of several directories, paths are relative to the one that holds them all.
        root, prefixes = self._roots[0], [""]
        if len(images) > 1:
            whole = [root.resolve() for root in self._roots]
            root = Path(os.path.commonpath(whole))
            prefixes = [f"{one.relative_to(root)}{os.sep}" for one in whole]
        files = [
            (prefix + image).removeprefix(f".{os.sep}")
            for prefix, its in zip(prefixes, images, strict=True)
            for image in its
        ]
        self._root_of = np.repeat(np.arange(len(images)), [len(its) for its in images])

        tops = [_top(image) for its in images for image in its]
        folders = sorted(set(tops) - {""})
        strays = [file for file, top in zip(files, tops, strict=True) if not top]
        why_no_classes = _why_no_classes(folders, strays)
        class_names = folders if len(folders) > 1 and not why_no_classes else []
        index = {name: place for place, name in enumerate(class_names)}
        super().__init__(
            name,
            root,
            files,
            class_names=class_names,
            labels=np.array([index.get(top, -1) for top in tops], np.int64),
            why_no_classes=why_no_classes,
            left_out=left_out,
        )

    def directory_of(self, index: int) -> Path:
        return self._roots[self._root_of[index]]


def _top(image: str) -> str:
    """Returns the first folder of a path; nothing where the file itself lies at the top."""
    folder, separator, _ = image.partition(os.sep)
    return sys.intern(folder) if separator else ""  # one text for all images of a folder


def _why_no_classes(folders: Sequence[str], strays: Sequence[str]) -> str:
    """Says why the folders at the top are no classes; nothing where they are, or are too few."""
    if len(folders) < 2:
        return ""
    splits = [name for name in folders if _SPLIT.fullmatch(name.removesuffix(_MAPS))]
    if len(splits) > 1:
        return (
            f"no classes: {outside.named(splits)} are names of splits. The images of all folders "
            f"are taken. --data_dir=DIR/{splits[0]} takes one; a list with commas takes several"
        )
    if strays:
        return (
            f"no classes: images lie beside the folders ({len(strays)}: {outside.named(strays)}). "
            "Move them, and the folders are classes"
        )
    return ""
