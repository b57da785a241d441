import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from pcd_tf.data._decode import FORMATS, DecodeError, decode, from_pixels

SIZE = (16, 12)  # width, height


def quadrants(height: int = 32, width: int = 48) -> np.ndarray:
    """Red, green, blue, yellow quarters, so that every turn and mirroring shows."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = (250, 10, 10)
    pixels[: height // 2, width // 2 :] = (10, 250, 10)
    pixels[height // 2 :, : width // 2] = (10, 10, 250)
    pixels[height // 2 :, width // 2 :] = (250, 250, 10)
    return pixels


def encoded(image: Image.Image, file_format: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def palette(transparent: bool) -> bytes:
    image = Image.new("P", SIZE, 1)
    image.putpalette([0, 0, 0, 10, 200, 30])
    return encoded(image, transparency=bytes([255, 128])) if transparent else encoded(image)


def animation() -> bytes:
    frames = [Image.new("RGB", SIZE, colour) for colour in ("red", "lime", "blue")]
    return encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=50)


def grey_16_bits(value: int) -> bytes:
    return encoded(Image.fromarray(np.full(SIZE[::-1], value, np.uint16)))


def rgb_16_bits(*values: int) -> bytes:
    return tf.io.encode_png(np.full((12, 16, len(values)), values, np.uint16)).numpy()


KINDS: dict[str, tuple[Callable[[], bytes], tuple[int, int, int], int]] = {
    # kind: bytes, the colour it stands for, tolerance
    "bilevel": (lambda: encoded(Image.new("1", SIZE, 1)), (255, 255, 255), 0),
    "grey": (lambda: encoded(Image.new("L", SIZE, 77)), (77, 77, 77), 0),
    "grey jpeg": (lambda: encoded(Image.new("L", SIZE, 77), "JPEG"), (77, 77, 77), 1),
    "grey alpha": (lambda: encoded(Image.new("LA", SIZE, (0, 102))), (153, 153, 153), 1),
    "grey 16 bits": (lambda: grey_16_bits(40000), (156, 156, 156), 0),
    "grey 16 bits, rounded": (lambda: grey_16_bits(51500), (200, 200, 200), 0),
    "grey 16 bits, white": (lambda: grey_16_bits(65535), (255, 255, 255), 0),
    "grey 16 bits, dark": (lambda: grey_16_bits(300), (1, 1, 1), 0),
    "rgb 16 bits": (lambda: rgb_16_bits(65535, 40000, 1000), (255, 156, 4), 1),
    "rgba 16 bits": (lambda: rgb_16_bits(65535, 0, 0, 32768), (255, 127, 127), 1),
    "rgba opaque": (lambda: encoded(Image.new("RGBA", SIZE, (9, 90, 200, 255))), (9, 90, 200), 0),
    "rgba half": (lambda: encoded(Image.new("RGBA", SIZE, (255, 0, 0, 128))), (255, 127, 127), 1),
    "rgba clear": (lambda: encoded(Image.new("RGBA", SIZE, (9, 9, 9, 0))), (255, 255, 255), 0),
    "palette": (lambda: palette(False), (10, 200, 30), 0),
    "palette alpha": (lambda: palette(True), (132, 227, 142), 1),
    "cmyk jpeg": (
        lambda: encoded(Image.new("CMYK", SIZE, (0, 255, 255, 0)), "JPEG", quality=100),
        (255, 0, 0),
        3,
    ),
    "webp": (lambda: encoded(Image.new("RGB", SIZE, "red"), "WEBP", lossless=True), (255, 0, 0), 0),
    "webp alpha": (
        lambda: encoded(Image.new("RGBA", SIZE, (9, 9, 9, 0)), "WEBP", lossless=True),
        (255, 255, 255),
        0,
    ),
    "bmp": (lambda: encoded(Image.new("RGB", SIZE, (9, 90, 200)), "BMP"), (9, 90, 200), 0),
    "tiff": (lambda: encoded(Image.new("RGB", SIZE, (9, 90, 200)), "TIFF"), (9, 90, 200), 0),
    "animated gif": (animation, (255, 0, 0), 0),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_becomes_rgb(kind: str):
    make, colour, tolerance = KINDS[kind]
    image = decode(make())
    assert image.mode == "RGB"
    pixels = np.asarray(image)
    assert pixels.shape == (12, 16, 3)
    assert pixels.dtype == np.uint8
    np.testing.assert_allclose(
        pixels.astype(int), np.broadcast_to(colour, (12, 16, 3)), atol=tolerance
    )


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_exif_rotation_is_undone(orientation: int, file_format: str):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = encoded(Image.fromarray(quadrants()), file_format, exif=exif, quality=95)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(stored))).convert("RGB"))
    assert expected.shape == ((48, 32, 3) if orientation > 4 else (32, 48, 3))
    np.testing.assert_array_equal(np.asarray(decode(stored)), expected)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow's; decoding goes on
@pytest.mark.parametrize("exif", [b"Exif\x00\x00nonsense", b"Exif\x00\x00II*\x00\xff\xff\xff\xff"])
def test_a_broken_exif_block_does_no_harm(exif: bytes):
    assert decode(encoded(Image.new("RGB", SIZE), "JPEG", exif=exif)).size == SIZE


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_truncated_file_is_an_error_that_names_it(tmp_path: Path, file_format: str):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    whole = encoded(Image.fromarray(noise), file_format)
    assert decode(whole).size == (64, 64)
    path = tmp_path / f"half.{file_format.lower()}"
    for share in (0.1, 0.5, 0.9):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(DecodeError, match=f"Cannot decode .*{path.name}: "):
            decode(path)


@pytest.mark.parametrize(
    "content", [b"", b"no picture", b"\xff\xd8\xff", b"GIF89a", b"%!PS-Adobe-3.0"]
)
def test_what_is_no_image_is_an_error(content: bytes):
    with pytest.raises(DecodeError, match="Cannot decode photo 7"):
        decode(content, name="photo 7")


def test_a_missing_file_and_floating_point_pixels_are_errors(tmp_path: Path):
    with pytest.raises(DecodeError, match=r"gone\.jpg: FileNotFoundError"):
        decode(tmp_path / "gone.jpg")
    depth = encoded(Image.fromarray(np.zeros((4, 4), np.float32)), "TIFF")
    with pytest.raises(DecodeError, match="floating-point pixels have no known range"):
        decode(depth)


@pytest.mark.parametrize(
    ("min_pixels", "size"),
    [(400 * 240, (400, 240)), (40000, (400, 240)), (20000, (200, 120)), (1500, (50, 30))],
)
def test_a_big_jpeg_may_be_decoded_smaller(min_pixels: int, size: tuple[int, int]):
    stored = encoded(Image.fromarray(quadrants(240, 400)), "JPEG", quality=95)
    small = decode(stored, min_pixels=min_pixels)
    assert small.size == size
    for y, x in ((0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75)):
        row, column = int(y * small.height), int(x * small.width)
        expected = quadrants(240, 400)[int(y * 240), int(x * 400)]
        np.testing.assert_allclose(np.asarray(small)[row, column].astype(int), expected, atol=6)


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3), (5, 7, 4)])
def test_pixels_become_rgb(shape: tuple[int, ...]):
    image = from_pixels(np.full(shape, 255, np.uint8), name="x")
    np.testing.assert_array_equal(np.asarray(image), np.full((5, 7, 3), 255))


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((5, 7, 3), np.float32), np.zeros((5, 7, 2), np.uint8), np.zeros((0, 7, 3), np.uint8)],
)
def test_other_arrays_are_errors(pixels: np.ndarray):
    with pytest.raises(DecodeError, match=r"Cannot use photo 7: expected pixels of type uint8"):
        from_pixels(pixels, name="photo 7")
