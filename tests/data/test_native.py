"""What TensorFlow decodes equals what Pillow decodes; what is rare is declined."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pcd_tf.data import _decode, _native
from pcd_tf.data._stream import attempt

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (45, 67, 3), np.uint8)
SMOOTH = np.asarray(Image.fromarray(NOISE).resize((67, 45), box=(3, 3, 20, 15)))


def stored(image: Image.Image | np.ndarray, file_format: str = "JPEG", **options: Any) -> bytes:
    file = io.BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(file, file_format, **options)
    return file.getvalue()


@tf.function(input_signature=[tf.TensorSpec((), tf.string), tf.TensorSpec((), tf.int64)])
def _native_or_nothing(encoded, min_pixels):
    nothing = tf.constant(False), tf.zeros((0, 0, 3), tf.uint8)
    return attempt(lambda x: _native.decode(x, min_pixels), encoded, nothing)


def natively(encoded: bytes, min_pixels: int = 2**62) -> Any:
    """Decodes natively; None when that is declined or fails."""
    is_made, image = _native_or_nothing(encoded, min_pixels)
    return image.numpy() if is_made else None


def by_pillow(encoded: bytes, min_pixels: int | None = None) -> Any:
    """Decodes by Pillow; None when it cannot."""
    try:
        return np.asarray(_decode.decode(encoded, min_pixels=min_pixels))
    except _decode.DecodeError:
        return None


def png(depth: int, colour: int, rows: bytes, *, size=(8, 2), chunks=(), interlaced=0) -> bytes:
    """A PNG of a kind that Pillow cannot write."""

    def chunk(name: bytes, content: bytes) -> bytes:
        end = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + end

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, interlaced))
    middle = b"".join(chunk(*one) for one in chunks) + chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + head + middle + chunk(b"IEND", b"")


PALETTE = Image.fromarray(SMOOTH).quantize(16)
GREY = Image.fromarray(SMOOTH).convert("L")
COMMON = {
    "rgb": stored(SMOOTH),
    "grey": stored(GREY),
    "noise": stored(NOISE, quality=100),
    "progressive": stored(SMOOTH, progressive=True),
    "4:2:0": stored(SMOOTH, subsampling="4:2:0"),
    "4:2:2": stored(SMOOTH, subsampling="4:2:2"),
    "4:4:4": stored(SMOOTH, subsampling="4:4:4"),
    "restart markers": stored(SMOOTH, restart_marker_blocks=2),
    "stored as rgb": stored(SMOOTH, keep_rgb=True),
    "two pictures": stored(SMOOTH, "MPO", save_all=True, append_images=[Image.new("RGB", (9, 9))]),
    "with a comment": stored(SMOOTH, comment="a" * 300),
    "upright": stored(SMOOTH, exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"),
    "a line": stored(SMOOTH[:1]),
    "a column": stored(SMOOTH[:, :1]),
    "png": stored(NOISE, "PNG"),
    "png grey": stored(GREY, "PNG"),
    "png of a pixel": stored(NOISE[:1, :1], "PNG"),
    "png palette": stored(PALETTE, "PNG"),
    "png palette 4 bits": stored(PALETTE, "PNG", bits=4),
    "png palette 2 bits": stored(Image.fromarray(SMOOTH).quantize(4), "PNG", bits=2),
    "png 1 bit": stored(GREY.convert("1"), "PNG"),
    "png grey 2 bits": png(2, 0, b"\0\x1b\xe4\0\xff\x00"),
    "png grey 4 bits": png(4, 0, b"\0\x01\x23\x45\x67\0\x89\xab\xcd\xef"),
    # 8 x 1 pixels: the passes 1, 4, 6, which begin with a filter byte each
    "png interlaced": png(8, 0, b"\0\x05\0\x28\0\x1e\x5a\0\x0a\x14\x46\x50"[:11], size=(8, 1)),
    "png with gamma": png(8, 0, b"\0" + bytes(range(8)), size=(8, 1), chunks=[
        (b"gAMA", struct.pack(">I", 100000)), (b"tEXt", b"Title\0x"),
    ]),
}  # fmt: skip


@pytest.mark.parametrize("kind", COMMON)
def test_common_files_are_decoded_as_by_pillow(kind: str):
    np.testing.assert_array_equal(natively(COMMON[kind]), by_pillow(COMMON[kind]))


def exif(order: str, kind: int, orientation: int) -> bytes:
    """An EXIF block with an orientation as SHORT (3), LONG (4), SSHORT (8) or SLONG (9)."""
    number = {3: "H2x", 4: "I", 8: "h2x", 9: "i"}[kind]
    start = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}IH", 8, 2)
    resolution = struct.pack(f"{order}HHII", 0x011A, 5, 1, 38)
    entry = struct.pack(f"{order}HHI{number}", 0x0112, kind, 1, orientation)
    return b"Exif\0\0" + start + entry + resolution + bytes(4) + struct.pack(f"{order}II", 72, 1)


@pytest.mark.parametrize("kind", [3, 4, 8, 9])
@pytest.mark.parametrize("order", "<>")
def test_a_jpeg_is_turned_as_by_pillow_where_the_tag_is_a_short(order: str, kind: int):
    for orientation in range(2, 9):
        turned = stored(SMOOTH, exif=exif(order, kind, orientation))
        upright = np.asarray(Image.open(io.BytesIO(turned)))
        assert not np.array_equal(by_pillow(turned), upright)  # Pillow turns it
        if kind == 3:
            np.testing.assert_array_equal(natively(turned), by_pillow(turned))
        else:
            assert natively(turned) is None
    stays = stored(SMOOTH, exif=exif(order, kind, 1))
    np.testing.assert_array_equal(natively(stays), by_pillow(stays))


@pytest.mark.parametrize("others", [(), (0x010E, 0x010F, 0x0110), (0x011A, 0x0132, 0x8298)])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_what_pillow_writes_is_turned_as_by_pillow(orientation: int, others: tuple[int, ...]):
    tags = Image.Exif()
    tags[0x0112] = orientation
    for tag in others:
        tags[tag] = 72.0 if tag == 0x011A else "a name of more than four letters"
    turned = stored(SMOOTH, exif=tags)
    np.testing.assert_array_equal(natively(turned), by_pillow(turned))
    png_ = stored(SMOOTH, "PNG", exif=tags)
    assert natively(png_) is None


def test_a_turned_jpeg_is_decoded_smaller_as_by_pillow():
    tags = Image.Exif()
    tags[0x0112] = 6
    turned = stored(np.tile(SMOOTH, (5, 5, 1)), exif=tags)
    found = natively(turned, min_pixels=5000)
    np.testing.assert_array_equal(found, by_pillow(turned, min_pixels=5000))


@pytest.mark.parametrize("num_segments", [1, 5, 12])
def test_an_orientation_behind_a_large_colour_profile_is_found(num_segments: int):
    segment = b"\xff\xe2" + struct.pack(">H", 65000) + b"ICC_PROFILE\0" + bytes(65000 - 14)
    turned = stored(SMOOTH, exif=exif("<", 3, 6))
    turned = turned[:20] + num_segments * segment + turned[20:]
    assert by_pillow(turned).shape == (67, 45, 3)
    assert natively(turned) is None


def test_an_orientation_behind_the_tables_is_found():
    block = exif("<", 3, 6)
    segment = b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block
    plain = stored(SMOOTH)
    assert natively(plain) is not None
    place = plain.index(b"\xff\xc0")  # the frame's header
    turned = plain[:place] + segment + plain[place:]
    assert by_pillow(turned).shape == (67, 45, 3)
    assert natively(turned) is None


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="6"/></x:xmpmeta>'


def chunk_behind_the_pixels(png_file: bytes, name: bytes, content: bytes) -> bytes:
    chunk = name + content
    chunk = struct.pack(">I", len(content)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return png_file[:-12] + chunk + png_file[-12:]


RGBA = Image.fromarray(SMOOTH).convert("RGBA")
RARE = {
    "cmyk": stored(Image.fromarray(SMOOTH).convert("CMYK")),
    "turned by xmp": stored(SMOOTH, xmp=XMP),
    "png turned behind the pixels": chunk_behind_the_pixels(
        stored(SMOOTH, "PNG"), b"eXIf", exif(">", 3, 6)[6:]
    ),
    "png alpha": stored(RGBA, "PNG"),
    "png grey alpha": stored(RGBA.convert("LA"), "PNG"),
    "png transparent colour": stored(SMOOTH, "PNG", transparency=tuple(SMOOTH[0, 0].tolist())),
    "png transparent palette": stored(PALETTE, "PNG", transparency=bytes([0, 9])),
    "png 16 bits": stored(np.full((4, 5), 40000, np.uint16), "PNG"),
    "png rgb 16 bits": tf.io.encode_png(np.full((4, 5, 3), 40000, np.uint16)).numpy(),
    **{name: stored(SMOOTH, name) for name in ("WEBP", "GIF", "BMP", "TIFF", "PPM")},
    **({"AVIF": stored(SMOOTH, "AVIF")} if "AVIF" in _decode.FORMATS else {}),
}
# Adobe's marker says YCCK (2) in place of CMYK as it is (0).
RARE["ycck"] = RARE["cmyk"].replace(b"Adobe\0d\0\0\0\0\0", b"Adobe\0d\0\0\0\0\2")


@pytest.mark.parametrize("kind", RARE)
def test_rare_files_are_declined(kind: str):
    assert by_pillow(RARE[kind]) is not None
    assert natively(RARE[kind]) is None


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
@pytest.mark.parametrize("limit", ["LARGE", "MOST_ENCODED", "max_pixels"])
def test_large_images_are_declined(file_format: str, limit: str, monkeypatch):
    fits, large = stored(NOISE[:40, :60], file_format), stored(NOISE[:41, :60], file_format)
    if limit == "max_pixels":
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
        _decode.set_max_pixels(2400)
    else:
        monkeypatch.setattr(_native if limit == "MOST_ENCODED" else _decode, limit, 2400)
    for encoded, is_made in ((fits, True), (large, False)):
        made, _ = attempt(_native.decode, tf.constant(encoded), (False, np.zeros((0, 0, 3), "u1")))
        assert bool(made) == is_made


@pytest.mark.parametrize("min_pixels", [45 * 67, 600, 150, 40, 1])
@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_a_jpeg_is_decoded_as_small_as_by_pillow(min_pixels: int, options: dict):
    encoded = stored(SMOOTH, **options)
    image = natively(encoded, min_pixels)
    assert image.shape[0] * image.shape[1] >= min(min_pixels, 40)
    np.testing.assert_array_equal(image, by_pillow(encoded, min_pixels))


@pytest.mark.parametrize(
    "encoded",
    [b"", b"\xff", b"\xff\xd8\xff", b"\xff\xd8\xff\xe0\0\x10JFIF", b"\x89PNG\r\n\x1a\n", b"BM"]
    + [b"\x89PNG\r\n\x1a\n" + bytes(30), b"no picture", bytes(100)]
    + [start + RNG.bytes(n) for n in (1, 30, 5000) for start in (b"", b"\xff\xd8\xff")],
)
def test_what_is_no_image_is_none(encoded: bytes):
    assert natively(encoded) is None
    assert by_pillow(encoded) is None


@pytest.mark.parametrize("kind", ["rgb", "progressive", "restart markers", "png", "png palette"])
def test_a_truncated_file_is_none(kind: str):
    whole = COMMON[kind]
    for length in range(1, len(whole) - 14, len(whole) // 40):
        assert natively(whole[:length]) is None


@pytest.mark.parametrize("kind", ["rgb", "png", "progressive", "png palette"])
def test_a_damaged_file_is_what_pillow_says_or_none(kind: str):
    """Pillow may still decode what TensorFlow refuses; never the other way round."""
    rng = np.random.default_rng(1)
    for _ in range(50):
        damaged = bytearray(COMMON[kind])
        for place in rng.integers(0, len(damaged), rng.integers(1, 4)):
            damaged[place] = rng.integers(256)
        found = natively(bytes(damaged))
        if found is not None:
            np.testing.assert_array_equal(found, by_pillow(bytes(damaged)))
