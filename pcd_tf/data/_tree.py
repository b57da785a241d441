"""The images of directory trees, and what else lies in them."""

import collections
import functools
import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path

from pcd_tf import files
from pcd_tf.data._decode import SUFFIXES

logger = logging.getLogger(__name__)

_SUFFIX = re.compile(r"\.(?=\d*[a-z])[a-z0-9]{1,8}")  # one that tells a kind of file
_FOLDER, _IMAGE = "folder", "image"  # kinds of entries; all others are left out
_NUM_KINDS = 10  # of what is left out, that are told apart


def directories(data_dir: str | os.PathLike[str]) -> list[Path]:
    """Reads a directory, or several between commas; an existing one's name may hold commas."""
    whole = Path(data_dir).expanduser()
    if os.path.isdir(whole):  # noqa: PTH112 - Path.is_dir raises where the list is long
        return [whole]
    parts = [part.strip() for part in os.fspath(data_dir).split(",")]
    return [Path(part).expanduser() for part in parts if part] or [whole]


def find(roots: Sequence[Path]) -> tuple[list[list[str]], dict[str, int]]:
    """Lists the images below each directory; a folder that is reached twice is listed once.

    Links are followed. Hidden files and folders are passed over in silence. Only names are read, so
    a million files take seconds.

    Returns:
        of each directory, its images' paths relative to it, sorted; how many files are no images,
        by suffix or by what they are: the most frequent kinds, and the sum of the others.
    """
    seen: set[tuple[int, int]] = set()  # folders; so a link to one above is no endless loop either
    left_out: collections.Counter[str] = collections.Counter()
    images = [_images(root, seen, left_out) for root in roots]
    shown = dict(left_out.most_common(_NUM_KINDS))
    others = left_out.total() - sum(shown.values())
    return images, shown | ({"others": others} if others else {})


def _images(
    root: Path, seen: set[tuple[int, int]], left_out: collections.Counter[str]
) -> list[str]:
    images: list[str] = []
    waiting = collections.deque([""])
    while waiting:
        folder = waiting.popleft()
        path = root / folder
        try:
            entries = files.patiently(functools.partial(_entries, path, seen), path, root)
        except OSError as error:
            logger.warning("Left out a folder that cannot be read: %s", error)
            left_out["folders that cannot be read"] += 1
            continue
        for name, kind in entries:
            relative = f"{folder}{os.sep}{name}" if folder else name
            if kind == _FOLDER:
                waiting.append(relative)
            elif kind == _IMAGE:
                images.append(relative)
            else:
                left_out[kind] += 1
    return sorted(images)


def _entries(path: Path, seen: set[tuple[int, int]]) -> list[tuple[str, str]]:
    """Lists the names in a folder with their kinds, sorted; none of a folder seen before."""
    status = path.stat()
    identity = status.st_dev, status.st_ino
    if identity in seen:
        return []
    with os.scandir(path) as entries:
        found = sorted((entry.name, _kind(entry)) for entry in entries if entry.name[0] != ".")
    seen.add(identity)
    return found


def _kind(entry: os.DirEntry[str]) -> str:
    try:
        is_folder, is_file = entry.is_dir(), entry.is_file()
    except OSError:  # a link to itself, or to where one may not go
        is_folder = is_file = False
    if is_folder:
        return _FOLDER
    if not is_file:
        return "links that lead nowhere" if entry.is_symlink() else "pipes and devices"
    suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122 - a Path takes twice the time
    if suffix in SUFFIXES:
        return _IMAGE
    return suffix if _SUFFIX.fullmatch(suffix) else "without a known suffix"
