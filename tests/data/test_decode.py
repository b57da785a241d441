import errno
import io
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from pcd_tf import files
from pcd_tf.data import _decode
from pcd_tf.data._decode import (
    FORMATS,
    SUFFIXES,
    DecodeError,
    decode,
    from_pixels,
    set_max_pixels,
)
from pcd_tf.errors import UserError

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


def grey_16_bits(value: int, file_format: str = "PNG") -> bytes:
    return encoded(Image.fromarray(np.full(SIZE[::-1], value, np.uint16)), file_format)


def ppm(magic: str, maximum: int, *values: int) -> bytes:
    """Pixels of one colour; above a maximum of 255 each number takes two bytes."""
    header = f"{magic} {SIZE[0]} {SIZE[1]} {maximum}\n".encode()
    return header + struct.pack(f">{len(values)}{'H' if maximum > 255 else 'B'}", *values) * 192


def tiff_rgb_16_bits(*values: int) -> bytes:
    """Pixels of one colour, not compressed; Pillow cannot write them."""
    pixels = struct.pack("<3H", *values) * 192
    entries = [
        (256, 4, 1, 16),  # width
        (257, 4, 1, 12),  # height
        (258, 3, 3, 8 + 2 + 9 * 12 + 4),  # where the bits of a sample stand
        (259, 3, 1, 1),  # no compression
        (262, 3, 1, 2),  # RGB
        (273, 4, 1, 8 + 2 + 9 * 12 + 4 + 6),  # where the pixels stand
        (277, 3, 1, 3),  # samples of a pixel
        (278, 4, 1, 12),  # rows of a strip
        (279, 4, 1, len(pixels)),
    ]
    directory = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    start = b"II*\0" + struct.pack("<IH", 8, len(entries))
    return start + directory + struct.pack("<I3H", 0, 16, 16, 16) + pixels


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
    "tiff grey 16 bits": (lambda: grey_16_bits(40000, "TIFF"), (156, 156, 156), 0),
    "tiff rgb 16 bits": (lambda: tiff_rgb_16_bits(65535, 40000, 1000), (255, 156, 4), 1),
    "ppm": (lambda: ppm("P6", 255, 9, 90, 200), (9, 90, 200), 0),
    "ppm 16 bits": (lambda: ppm("P6", 65535, 65535, 40000, 1000), (255, 156, 4), 1),
    "pgm": (lambda: ppm("P5", 255, 77), (77, 77, 77), 0),
    "pgm 16 bits": (lambda: ppm("P5", 65535, 40000), (156, 156, 156), 0),
    "pgm 10 bits": (lambda: ppm("P5", 1023, 624), (156, 156, 156), 1),
    "plain pgm": (lambda: b"P2 16 12 100\n" + b"50 " * 192, (128, 128, 128), 1),
    "pbm": (lambda: b"P1 16 12\n" + b"0 " * 192, (255, 255, 255), 0),
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
@pytest.mark.parametrize("file_format", ["AVIF", "JPEG", "PNG", "WEBP"])
def test_exif_rotation_is_undone(orientation: int, file_format: str):
    if file_format not in FORMATS:
        pytest.skip("Pillow was built without AVIF")
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = encoded(Image.fromarray(quadrants()), file_format, exif=exif, quality=95)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(stored))).convert("RGB"))
    assert expected.shape == ((48, 32, 3) if orientation > 4 else (32, 48, 3))
    np.testing.assert_array_equal(np.asarray(decode(stored)), expected)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data", "ignore:Truncated File Read")  # Pillow's
@pytest.mark.parametrize(("exif", "is_turned"), [
    (b"nonsense", False),
    (b"II*\0\xff\xff\xff\xff", False),
    (b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", 0x0112, 5, 1, 9999), False),  # no value
    (b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHI4s", 0x0112, 2, 2, b"x"), False),  # a text
    (b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHIHH", 0x0112, 3, 1, 99, 0), False),
    # What follows cannot be written again, as ImageOps.exif_transpose does.
    (
        b"II*\0\x08\0\0\0\x03\0"
        + struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)
        + struct.pack("<HHII", 0x8769, 4, 1, 0xFFFFFFF0)
        + struct.pack("<HHI4s", 0x8825, 2, 4, b"\xff\xfe\xfd\xfc")
        + bytes(4),
        True,
    ),
])  # fmt: skip
def test_a_broken_exif_block_does_no_harm(exif: bytes, is_turned: bool):
    stored = encoded(Image.new("RGB", SIZE), "JPEG", exif=b"Exif\0\0" + exif)
    assert decode(stored).size == (SIZE[::-1] if is_turned else SIZE)


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


def test_suffixes_are_those_of_what_can_be_decoded():
    wanted = {".jpg", ".jfif", ".tif", ".tiff", ".ppm", ".pgm", ".png", ".gif", ".bmp", ".webp"}
    assert wanted <= SUFFIXES
    assert (".avif" in SUFFIXES) == ("AVIF" in FORMATS)
    assert SUFFIXES.isdisjoint({".eps", ".ps", ".pdf", ".wmf", ".psd", ".pfm", ""})


def test_a_thin_jpeg_is_decoded_smaller():
    thin = encoded(Image.new("RGB", (4096, 3), "red"), "JPEG")
    assert decode(thin, min_pixels=100).height >= 1


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux alone tells the peak")
def test_sixteen_bits_take_no_more_memory_than_eight():
    """In a process of its own, for its peak; int64 on the way took 26 bytes a pixel."""
    code = """
import io, re
from pathlib import Path
from PIL import Image
from pcd_tf.data._decode import decode
file = io.BytesIO()
Image.new("I;16", (3000, 3000), 40000).save(file, "PNG", compress_level=1)
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
before = peak()
decode(file.getvalue())
print((peak() - before) * 1024 / 3000**2)
"""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 12


# How large and how many


@pytest.fixture
def at_most(monkeypatch) -> Callable[[int], None]:
    """Sets the limit of pixels for a test."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    return set_max_pixels


def test_too_many_pixels_are_refused_and_the_setting_is_named(at_most):
    picture = Image.fromarray(quadrants(40, 60))
    at_most(2400)
    for file_format in FORMATS:
        assert decode(encoded(picture, file_format)).size == (60, 40)  # and no warning of Pillow's
    at_most(2398)
    for file_format in FORMATS:
        with pytest.raises(
            DecodeError,
            match=r"large: it has more pixels than --max_pixels allows \(2398\)\. .* raise",
        ):
            decode(encoded(picture, file_format), name="large", min_pixels=100)


@pytest.mark.parametrize(("size", "options", "alone"), [
    ((41, 10), {}, True),
    ((40, 10), {}, False),
    ((160, 40), {}, False),  # decoded at a quarter of its sides
    ((160, 40), {"progressive": True}, True),
])  # fmt: skip
def test_a_large_image_is_decoded_alone(size, options, alone, monkeypatch):
    monkeypatch.setattr(_decode, "LARGE", 400)
    stored = encoded(Image.new("L", size), "JPEG", **options)
    with ThreadPoolExecutor(1) as pool:
        with _decode._large_ones_turn:
            decoding = pool.submit(decode, stored, min_pixels=400)
            if alone:
                with pytest.raises(TimeoutError):
                    decoding.result(0.05)
            else:
                decoding.result(20)
        decoding.result(20)


# Files


def test_what_is_no_regular_file_is_an_error_and_never_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "fifo.jpg")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    for name in ("fifo.jpg", "loop.jpg"):
        with pytest.raises(DecodeError, match=f"Cannot decode .*{name}"):
            decode(tmp_path / name)


def test_a_file_is_read_again_when_its_disk_comes_back(tmp_path: Path, monkeypatch):
    path = tmp_path / "photo.png"
    Image.new("RGB", SIZE, "red").save(path)
    pauses: list[float] = []
    monkeypatch.setattr(files.ending, "wait", pauses.append)

    class Away(io.BytesIO):
        """Fails as long as the disk is away, though it could be opened."""

        def read(self, size: int | None = -1) -> bytes:
            if len(pauses) < 2:
                raise OSError(errno.ESTALE, "Stale file handle")
            return super().read(size)

    monkeypatch.setattr(files, "opened", lambda path: Away(Path(path).read_bytes()))
    assert decode(path).size == SIZE
    assert pauses == [1, 2]


def test_a_disk_that_stays_away_is_no_damaged_file(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(files.ending, "wait", lambda seconds: None)
    with pytest.raises(UserError, match=r"photo\.png\. Received: .*/gone is gone") as caught:
        decode(tmp_path / "gone" / "photo.png")
    assert not isinstance(caught.value, DecodeError)
