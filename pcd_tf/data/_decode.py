"""Image files and image bytes of every kind -> upright RGB, 8 bits a channel."""

import io
import math
import os
import struct
import warnings
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, features

from pcd_tf import files
from pcd_tf.data._memory import MAX_PIXELS, Room
from pcd_tf.errors import UserError

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

_DAMAGED = (
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
# In blocks of more than 32 MiB, glibc's largest mmap threshold, a large picture's memory goes back
# to the system at once; of Pillow's own of 16 MiB threads keep up to a gigabyte (tried).
Image.core.set_block_size(64 << 20)  # type: ignore[attr-defined]
room = Room(MAX_PIXELS)  # of pixels, for what threads decode at once
_EIGHT_BITS = [(value + 128) // 257 for value in range(65536)]  # of 16: 65535 becomes 255
_ORIENTATION = 0x0112  # the EXIF tag; its value 1 is upright
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


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

    Threads decode side by side as many images as have together MAX_PIXELS; a larger one goes alone.
    An image may have as many as `set_max_pixels` says, a baseline JPEG four times as many: it is
    then decoded smaller.

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
    try:
        if isinstance(encoded, bytes):
            name = name or f"{len(encoded)} bytes"
            return _decoded(io.BytesIO(encoded), min_pixels)
        path, name = Path(encoded), name or str(encoded)
        return files.patiently(lambda: _decoded_file(path, min_pixels), path, root)
    except UserError:
        raise
    except _DAMAGED as error:
        raise DecodeError(f"Cannot decode {name}: {type(error).__name__}: {error}") from error


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


def _decoded_file(path: str | os.PathLike[str], min_pixels: int | None) -> Image.Image:
    with files.opened(path) as file:
        return _decoded(file, min_pixels)


def _decoded(file: BinaryIO, min_pixels: int | None) -> Image.Image:
    image = _identified(file)
    whole = num_pixels = image.width * image.height
    limit = max_pixels()
    # A progressive JPEG takes the memory of all its pixels, however small it is decoded.
    if _shrink_on_load(image, min_pixels, limit) and "progressive" not in image.info:
        num_pixels //= 4
    if num_pixels > limit:
        raise ValueError(
            f"expected at most {limit} pixels, four times as many in a baseline JPEG. Received: "
            f"{whole}. If it is to be read, raise --max_pixels."
        )
    with room.taken(num_pixels):
        image.load()
        return _upright(_rgb(image), _orientation(image))


def _identified(file: BinaryIO) -> Image.Image:
    """Reads the header. Image.open does as well, but refuses large JPEGs that will be shrunk."""
    prefix = file.read(16)  # as many as Image.open
    for name in FORMATS:
        factory, accepts = Image.OPEN[name]
        if accepts is not None and accepts(prefix) is True:
            file.seek(0)
            return factory(file, "")
    raise ValueError(f"it is no {', '.join(FORMATS[:-1])} or {FORMATS[-1]}")


def _shrink_on_load(image: Image.Image, min_pixels: int | None, limit: float) -> bool:
    """Lets the JPEG decoder skip detail; other formats know no such thing."""
    width, height = image.size
    least = math.inf if min_pixels is None else min_pixels
    scale = next((s for s in (8, 4, 2) if width * height >= least * s * s), 1)
    if width * height > limit:
        scale = max(2, scale)
    if scale == 1:
        return False
    return image.draft(image.mode, (max(1, width // scale), max(1, height // scale))) is not None


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


def _orientation(image: Image.Image, *, load: bool = True) -> int:
    try:
        exif = image.getexif() if load else Image.Image.getexif(image)
        return int(exif.get(_ORIENTATION, 1))
    except _DAMAGED:  # a broken EXIF block does not make the picture unreadable
        return 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image
