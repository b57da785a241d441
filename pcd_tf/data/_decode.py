"""Image files and image bytes of every kind -> upright RGB, 8 bits a channel."""

import io
import os
import struct
import zlib

import numpy as np
from PIL import Image

from pcd_tf.errors import UserError

# Only these are tried, whatever a file is called: Pillow gives some others to outside programs.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")

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


def decode(
    encoded: bytes | str | os.PathLike[str], *, name: str = "", min_pixels: int | None = None
) -> Image.Image:
    """Decodes a file, or a file's bytes, to upright RGB.

    Greyscale is repeated over the channels, transparency is laid over white, palettes and CMYK are
    converted (embedded colour profiles are not applied), 16 bits are scaled to 8, EXIF rotation is
    undone, and an animation gives its first frame. A truncated file is an error.

    Args:
        encoded: a path, or the bytes of a file.
        name: what to call the image in an error; default: the path.
        min_pixels: where given, a JPEG may be decoded at 1/2, 1/4 or 1/8 of its height and width,
            which is several times faster, as long as no fewer pixels than this are left.

    Returns:
        an RGB image, for `np.asarray`: uint8 (H, W, 3).

    Raises:
        DecodeError: when the image is missing, damaged or of a kind not known.

    Example:
        pixels = np.asarray(decode("photo.jpg"))
    """
    file = io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded
    try:
        with Image.open(file, formats=FORMATS) as image:
            if min_pixels is not None:
                _shrink_on_load(image, min_pixels)
            image.load()
            return _upright(_rgb(image), _orientation(image))
    except _DAMAGED as error:
        name = name or (f"{len(encoded)} bytes" if isinstance(encoded, bytes) else str(encoded))
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


def _shrink_on_load(image: Image.Image, min_pixels: int) -> None:
    """Lets the JPEG decoder skip detail; other formats know no such thing."""
    width, height = image.size
    scale = next((s for s in (8, 4, 2) if width * height >= min_pixels * s * s), 1)
    if scale > 1:
        image.draft(image.mode, (width // scale, height // scale))


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("floating-point pixels have no known range")
    if image.mode.startswith("I"):  # 16 bits; Pillow's own conversion would clip them at 255
        values = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
        image = Image.fromarray(((values + 128) // 257).astype(np.uint8))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("RGB")


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except _DAMAGED:  # a broken EXIF block does not make the picture unreadable
        return 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image
