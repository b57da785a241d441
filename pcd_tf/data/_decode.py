"""Image files and image bytes of every kind -> upright RGB, 8 bits a channel."""

import contextlib
import io
import math
import os
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError, features

from pcd_tf import files
from pcd_tf.errors import UserError

# Pillow's own limit. At 12 bytes a pixel, which three copies of 4 bytes take while a picture is
# converted, it is 2 GiB.
MAX_PIXELS = 2**31 // 12
# An image of more pixels is decoded alone, so that threads do not need as much memory each.
LARGE = 2**24

# Only these are tried, whatever a file is called: Pillow gives some others to outside programs.
FORMATS = tuple(
    name
    for name in ("AVIF", "BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
    if name != "AVIF" or features.check("avif")  # Pillow can be built without it
)

# MPO is what Pillow calls a JPEG with further pictures behind it. A .pfm holds floating-point
# pixels, which have no known range.
SUFFIXES = frozenset(
    suffix
    for suffix, file_format in Image.registered_extensions().items()
    if file_format in (*FORMATS, "MPO") and suffix != ".pfm"
)

DAMAGED = (
    Image.DecompressionBombError,
    EOFError,
    IndexError,
    KeyError,
    OSError,
    OverflowError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)  # what Pillow's decoders are known to raise on damaged input
# A block of more than 32 MiB, glibc's largest mmap threshold, goes back to the system as soon as it
# is freed; of Pillow's own blocks of 16 MiB, threads keep up to a gigabyte (tried).
Image.core.set_block_size(64 << 20)  # type: ignore[attr-defined]
_large_ones_turn = threading.Lock()
_EIGHT_BITS = [(value + 128) // 257 for value in range(65536)]  # of 16: 65535 becomes 255


class DecodeError(UserError):
    """An image cannot be decoded; the message names it and says why."""


def set_max_pixels(max_pixels: int) -> None:
    """Sets how many pixels an image may have, for this process.

    It is Pillow's own limit, a guard against small files that fill the memory.
    """
    Image.MAX_IMAGE_PIXELS = max_pixels // 2  # Pillow refuses twice that, and warns from here on
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def max_pixels() -> float:
    """How many pixels an image may have; infinite where Pillow was told so."""
    most = Image.MAX_IMAGE_PIXELS
    return math.inf if most is None else 2 * most  # as Pillow counts


def decode(
    encoded: bytes | str | os.PathLike[str],
    *,
    name: str = "",
    min_pixels: int | None = None,
    root: str | os.PathLike[str] | None = None,
) -> Image.Image:
    """Decodes a file, or a file's bytes, to upright RGB.

    Greyscale is repeated over the channels, transparency is laid over white, palettes and CMYK are
    converted (embedded colour profiles are not applied), 16 bits are scaled to 8, EXIF rotation is
    undone, and an animation gives its first frame. A truncated file is an error.

    Threads decode side by side; an image of more than LARGE pixels takes its turn.

    Args:
        encoded: a path, or the bytes of a file.
        name: what to call the image in an error; default: the path.
        min_pixels: where given, a JPEG may be decoded at 1/2, 1/4 or 1/8 of its height and width,
            which is several times faster, as long as no fewer pixels than this are left.
        root: the directory of the whole data set, for a path: see `files.patiently`.

    Returns:
        an RGB image, for `np.asarray`: uint8 (H, W, 3).

    Raises:
        DecodeError: when the image is missing, damaged, too large or of a kind not known.
        UserError: when its disk is away and does not come back.

    Example:
        pixels = np.asarray(decode("photo.jpg"))
    """
    with _named(encoded, name):
        content = encoded
        if not isinstance(content, bytes):
            path = Path(content)
            content = files.patiently(lambda: _content(path), path, root)
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            return _decoded(image, min_pixels)


@contextlib.contextmanager
def open_image(
    encoded: Path | bytes, formats: tuple[str, ...] = FORMATS, *, name: str = ""
) -> Iterator[Image.Image]:
    """Opens an image file, or a file's bytes; its pixels are decoded when they are asked for.

    Args:
        encoded: a path, or the bytes of a file.
        formats: Pillow's names of those that are tried.
        name: what to call the image in an error; default: the path.

    Raises:
        DecodeError: when the file is missing or no image, also while it is used; names it.
    """
    with (
        _named(encoded, name, formats),
        _opened(encoded) as file,
        Image.open(file, formats=formats) as image,
    ):
        yield image


def from_pixels(pixels: np.ndarray, *, name: str) -> Image.Image:
    """Makes an RGB image of pixels: uint8 (H, W), (H, W, 1), (H, W, 3) or (H, W, 4).

    Raises:
        DecodeError: when the array has another type or shape.
    """
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    is_image = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))
    if pixels.dtype != np.uint8 or not is_image or not pixels.size:
        raise DecodeError(
            f"Cannot use {name}: expected pixels of type uint8 and shape (H, W, 1, 3 or 4). "
            f"Received: {pixels.dtype} {pixels.shape}"
        )
    return _rgb(Image.fromarray(pixels))


@contextlib.contextmanager
def _named(
    encoded: bytes | str | os.PathLike[str], name: str, formats: tuple[str, ...] = FORMATS
) -> Iterator[None]:
    """Turns what Pillow raises on a damaged image into an error that names it."""
    if not name:
        name = f"{len(encoded)} bytes" if isinstance(encoded, bytes) else os.fspath(encoded)
    try:
        yield
    except UserError:
        raise
    except Image.DecompressionBombError as error:
        raise DecodeError(
            f"Cannot decode {name}: it has more pixels than --max_pixels allows ({max_pixels()}). "
            "If it is to be read, raise that."
        ) from error
    except UnidentifiedImageError as error:
        raise DecodeError(f"Cannot decode {name}: it is no {', '.join(formats)}.") from error
    except DAMAGED as error:
        raise DecodeError(f"Cannot decode {name}: {type(error).__name__}: {error}") from error


def _opened(encoded: Path | bytes) -> BinaryIO:
    if isinstance(encoded, bytes):
        return io.BytesIO(encoded)
    return files.patiently(lambda: files.opened(encoded), encoded)


def _content(path: Path) -> bytes:
    with files.opened(path) as file:
        return file.read()


def _decoded(image: Image.Image, min_pixels: int | None) -> Image.Image:
    num_pixels = image.width * image.height
    if min_pixels is not None:  # for a JPEG's decoder; other formats know no such thing
        share = min(1.0, math.sqrt(min_pixels / num_pixels))
        width, height = (max(1, int(share * side)) for side in image.size)
        image.draft(image.mode, (width, height))
    # A progressive JPEG takes the memory of all its pixels, however small it is decoded.
    if "progressive" not in image.info:
        num_pixels = image.width * image.height
    with _large_ones_turn if num_pixels > LARGE else contextlib.nullcontext():
        image.load()
        with contextlib.suppress(*DAMAGED):  # broken EXIF does not make a picture unreadable
            ImageOps.exif_transpose(image, in_place=True)
        return _rgb(image)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("floating-point pixels have no known range")
    if image.mode.startswith("I"):  # 16 bits; Pillow's own conversion would clip them at 255
        return image.convert("I").point(_EIGHT_BITS, "L").convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image)
        return white
    return image.convert("RGB")
