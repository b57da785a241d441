"""The sizes that image files state at their heads, read before any is decoded."""

import sys
from collections.abc import Callable, Iterable, Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import TypeVar

from PIL import ExifTags, Image
from tqdm import tqdm

from pcd_tf.data._decode import DAMAGED, open_image
from pcd_tf.errors import UserError

_NUM_THREADS = 16  # they wait for the disk, not for a core
_CHUNK = 64  # files a thread takes at once
_TURNED = range(5, 9)  # EXIF orientations that swap height and width

_T = TypeVar("_T")


def size_of(encoded: Path | bytes, *, name: str = "") -> tuple[int, int]:
    """Reads the height and width of an image as `decode` gives it, upright, in pixels.

    Raises:
        DecodeError: when the file is missing or no image.
    """
    (height, width), is_turned = _stored(encoded, name)
    return (width, height) if is_turned else (height, width)


def check_size(path: Path, expected: tuple[int, int], *, stated_by: str) -> None:
    """Refuses an image of another height and width than what belongs to it says."""
    stored, is_turned = _stored(path)
    upright = stored[::-1] if is_turned else stored
    if upright == expected:
        return
    if is_turned and stored == expected:
        reason = (
            f", turned by its EXIF orientation, so {stated_by} was made on the unturned picture. "
            "Take the orientation out of the file (exiftool -Orientation= FILE), or annotate it as "
            "shown"
        )
    else:
        reason = f". The two would not fit: correct the image, or {stated_by}"
    raise UserError(
        f"Expected {path} to be {expected[1]} x {expected[0]} pixels, as {stated_by} says. "
        f"Received: {upright[1]} x {upright[0]}{reason}."
    )


def check_images(number: int, check: Callable[[int], None]) -> None:
    """Checks the images 0 to `number` - 1, and names the first that fails; shows how far it is."""

    def fault(index: int) -> str | None:
        try:
            check(index)
        except UserError as error:
            return str(error)
        return None

    found = in_threads(fault, range(number), "headers", num_threads=_NUM_THREADS)
    faults = [message for message in found if message]
    if faults:
        more = f" {len(faults) - 1} more images are refused." if len(faults) > 1 else ""
        raise UserError(f"{faults[0]}{more}")


def in_threads(
    function: Callable[[int], _T], items: Sequence[int], title: str, *, num_threads: int
) -> list[_T]:
    """Calls a function that reads files, in threads; a bar shows when it takes long."""
    with ThreadPool(num_threads) as threads:
        done = threads.imap(function, items, chunksize=_CHUNK)
        return list(progress(done, title, len(items), unit="file"))


def progress(items: Iterable[_T], title: str, total: int, *, unit: str) -> Iterable[_T]:
    """Gives items one after another; a bar shows when it takes long."""
    interval = 1.0 if sys.stderr.isatty() else 30.0  # seconds; a file wants fewer lines
    delay = max(2.0, interval)
    return tqdm(items, title, total, unit=unit, mininterval=interval, delay=delay)


def _stored(encoded: Path | bytes, name: str = "") -> tuple[tuple[int, int], bool]:
    """Reads height and width as they lie in the file, and whether upright swaps them."""
    with open_image(encoded, name=name) as image:
        try:
            # A PNG's own `getexif` decodes it, to find what stands behind the pixels.
            orientation = int(Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1))
        except DAMAGED:
            orientation = 1
        is_turned = image.format != "TIFF" and orientation in _TURNED
        return (image.height, image.width), is_turned  # Pillow opens a TIFF upright
