"""Common JPEG and PNG files -> RGB by TensorFlow's own decoders, outside of Python."""

import functools
import zlib

import tensorflow as tf

from pcd_tf.data import _decode

# Pixels of a JPEG, however small it is decoded: a progressive one takes 6 bytes for each, and each
# thread holds one. Larger ones take turns, see `_decode.decode`.
MOST_ENCODED = 2**26

_JPEG = b"\xff\xd8\xff"
_PNG = b"\x89PNG\r\n\x1a\n"
_NUM_CHANNELS_OF_CMYK = 4
_JFIF_HEAD = b"\xff\xd8\xff\xe0\x00\x10"  # a first segment of 16 bytes, JFIF's without a thumbnail
_TABLES = b"\xff\xdb"  # the next segment is the quantisation tables
# Exif and XMP say that a JPEG is to be turned. They come before the tables (Exif 2.32, 4.5.4), but
# maybe behind a colour profile of many segments. To search all this takes 0.5 ms at most.
_METADATA_BYTES = 2**20
_FIRST_BYTES = 4096  # are searched where the tables follow JFIF's segment
_HAS_METADATA = r"(?s)\C*(Exif|adobe\.com/xap)\C*"
# The tag 0x0112, one number of any type from 2 to 8, in both byte orders, and XMP's.
_IS_TURNED = (
    r"(?s)\C*("
    r"\x12\x01[\x01-\x0c]\x00\x01\x00\x00\x00[\x02-\x08]|"
    r"\x01\x12\x00[\x01-\x0c]\x00\x00\x00\x01\x00{0,3}[\x02-\x08]|"
    r"tiff:Orientation"
    r")\C*"
)
# How cameras and telephones say it: Exif comes first, or behind JFIF's 16 bytes, and the tag
# stands, as a SHORT, among the first ones, of 12 bytes each (Exif 2.32, 4.5.4 and 4.6.2).
_FIRST_TAGS = (
    r"(?s)\C{6}(?:\C{18})?Exif\x00\x00(?:"
    r"II\*\x00\x08\x00\x00\x00\C\C(?:\C{12}){0,30}?\x12\x01\x03\x00\x01\x00\x00\x00([\x01-\x08])|"
    r"MM\x00\*\x00\x00\x00\x08\C\C(?:\C{12}){0,30}?\x01\x12\x00\x03\x00\x00\x00\x01\x00([\x01-\x08])"
    r")\C*"
)
_FIRST_TAGS_BYTES = 512
UPRIGHT = 1
_TRANSPOSED, _MIRRORED, _UPSIDE_DOWN = (5, 6, 7, 8), (2, 3, 6, 7), (3, 4, 7, 8)
# Of 8 bits or less; grey, RGB or palette; without an alpha, a transparent colour, or metadata that
# may say that it is to be turned (W3C, PNG, 11.2.2 and 11.3).
_IS_PLAIN_PNG = r"(?s)\C{24}[\x01-\x08][\x00\x02\x03]\C*"
_IS_SPECIAL_PNG = r"(?s)\C*(tRNS|eXIf|Raw profile type|tiff:Orientation)\C*"
# Bytes 24 and 25 of a PNG: bits a sample, and what a sample is (W3C, PNG, 11.2.2).
_EIGHT_BITS_GREY = b"\x08\x00"
_EIGHT_BITS_PALETTE = b"\x08\x03"
_PALETTE = 33  # where the palette stands if it comes first behind the header and its checksum
_MOST_CHUNKS = 4096  # bytes that the chunks before the pixels take, with room to spare
_HAS_COLOURS_OF_PALETTE = r"(?s)\C*(tRNS|hIST|bKGD)\C*"  # chunks of another form without a palette
_BYTES = [bytes([value]) for value in range(256)]


def _header_checksum(kind: bytes) -> int:
    return zlib.crc32(b"IHDR" + bytes(8) + kind + bytes(3))


# What the second of these kinds in place of the first changes in the checksum of any header: the
# CRC of a sum (XOR) is the sum of the CRCs.
_CHECKSUM_CHANGE = list(
    (_header_checksum(_EIGHT_BITS_PALETTE) ^ _header_checksum(_EIGHT_BITS_GREY)).to_bytes(4, "big")
)
_SCALES = (1, 2, 4, 8)  # a JPEG can be decoded at one of these parts of its height and width


def decode(encoded: tf.Tensor, min_pixels: int | None = None) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes the bytes of a file as `_decode.decode` does, or declines to.

    Args:
        encoded: string ().
        min_pixels: see `_decode.decode`.

    Returns:
        bool (), whether the image is of a kind that is decoded here; uint8 (H, W, 3), empty if not.

    Raises:
        tf.errors.InvalidArgumentError: in the graph, when the image is damaged.
    """
    way, orientation = tf.cond(
        tf.strings.substr(encoded, 0, len(_JPEG)) == _JPEG,
        lambda: _jpeg_way(encoded, min_pixels),
        lambda: (_png_way(encoded), tf.constant(UPRIGHT)),
    )
    image = tf.switch_case(
        way,
        [
            *(lambda scale=scale: _decoded_jpeg(encoded, scale) for scale in _SCALES),
            lambda: tf.io.decode_png(encoded, channels=3),
            lambda: tf.zeros((0, 0, 3), tf.uint8),
        ],
    )
    upright = tf.cond(orientation == UPRIGHT, lambda: image, lambda: _turned(image, orientation))
    return way < _DECLINED, upright


def decode_ids(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes a PNG of 8 bits, greyscale or with a palette, to its numbers, or declines to.

    Args:
        encoded: string ().

    Returns:
        bool (), whether it is of a kind that is decoded here; uint8 (H, W), empty if not.

    Raises:
        tf.errors.InvalidArgumentError: in the graph, when the file is damaged.
    """
    kind = tf.strings.substr(encoded, 24, 2)
    is_palette = (
        (kind == _EIGHT_BITS_PALETTE)
        & (tf.strings.substr(encoded, _PALETTE + 4, 4) == b"PLTE")
        & ~tf.strings.regex_full_match(
            tf.strings.substr(encoded, 0, _MOST_CHUNKS), _HAS_COLOURS_OF_PALETTE
        )
    )
    num_pixels = _num_pixels_of_png(encoded)
    is_decoded = (
        (tf.strings.substr(encoded, 0, len(_PNG)) == _PNG)
        & ((kind == _EIGHT_BITS_GREY) | is_palette)
        & _is_small(num_pixels, num_pixels)
    )

    def ids() -> tf.Tensor:
        grey = tf.cond(is_palette, lambda: _without_palette(encoded), lambda: encoded)
        return tf.io.decode_png(grey, channels=1)[..., 0]

    return is_decoded, tf.cond(is_decoded, ids, lambda: tf.zeros((0, 0), tf.uint8))


_PNG_WAY = len(_SCALES)
_DECLINED = _PNG_WAY + 1


def _jpeg_way(encoded: tf.Tensor, min_pixels: int | None) -> tuple[tf.Tensor, tf.Tensor]:
    shape = tf.cast(tf.io.extract_jpeg_shape(encoded), tf.int64)
    num_pixels = shape[0] * shape[1]
    least = 2**62 if min_pixels is None else min_pixels
    squares = [scale**2 for scale in _SCALES[1:]]
    enough = num_pixels // tf.constant(squares, tf.int64) >= least
    way = tf.reduce_sum(tf.cast(enough, tf.int32))
    num_decoded = num_pixels // tf.gather(tf.constant([1, *squares], tf.int64), way)
    orientation = orientation_of(encoded)
    is_rgb_or_grey = shape[2] != _NUM_CHANNELS_OF_CMYK
    is_common = (orientation > 0) & is_rgb_or_grey & _is_small(num_pixels, num_decoded)
    return tf.where(is_common, way, _DECLINED), orientation


def _png_way(encoded: tf.Tensor) -> tf.Tensor:
    is_plain = (
        (tf.strings.substr(encoded, 0, len(_PNG)) == _PNG)
        & tf.strings.regex_full_match(encoded, _IS_PLAIN_PNG)
        & ~tf.strings.regex_full_match(encoded, _IS_SPECIAL_PNG)
    )

    def way() -> tf.Tensor:
        num_pixels = _num_pixels_of_png(encoded)
        return tf.where(_is_small(num_pixels, num_pixels), _PNG_WAY, _DECLINED)

    return tf.cond(is_plain, way, lambda: tf.constant(_DECLINED))


def _without_palette(encoded: tf.Tensor) -> tf.Tensor:
    """Makes a greyscale PNG of one with a palette: the same numbers, but no longer of colours."""
    checksum = tf.io.decode_raw(tf.strings.substr(encoded, _PALETTE - 4, 4), tf.uint8)
    checksum = tf.cast(tf.bitwise.bitwise_xor(checksum, _CHECKSUM_CHANGE), tf.int32)
    length = tf.io.decode_raw(tf.strings.substr(encoded, _PALETTE, 4), tf.int32, False)[0]
    return tf.strings.join(
        [
            tf.strings.substr(encoded, 0, 24),
            _EIGHT_BITS_GREY,
            tf.strings.substr(encoded, 26, 3),
            tf.strings.reduce_join(tf.gather(_BYTES, checksum)),
            tf.strings.substr(encoded, _PALETTE + 12 + length, tf.strings.length(encoded)),
        ]
    )


def _num_pixels_of_png(encoded: tf.Tensor) -> tf.Tensor:
    sides = tf.io.decode_raw(tf.strings.substr(encoded, 16, 8), tf.int32, little_endian=False)
    return tf.reduce_prod(tf.cast(sides, tf.int64))


def _is_small(num_encoded: tf.Tensor, num_decoded: tf.Tensor) -> tf.Tensor:
    """Tells whether an image of so many pixels may be decoded beside others."""
    most = min(MOST_ENCODED, _decode.max_pixels())
    return (num_encoded <= most) & (num_decoded <= _decode.LARGE)


def _is_plain(jpeg: tf.Tensor) -> tf.Tensor:
    """Tells whether nothing but JFIF's 16 bytes comes before the tables, as in most of the web."""
    return (
        (tf.strings.substr(jpeg, 0, len(_JFIF_HEAD)) == _JFIF_HEAD)
        & (tf.strings.substr(jpeg, len(_JFIF_HEAD) + 14, len(_TABLES)) == _TABLES)
        & ~tf.strings.regex_full_match(tf.strings.substr(jpeg, 0, _FIRST_BYTES), _HAS_METADATA)
    )


def orientation_of(jpeg: tf.Tensor) -> tf.Tensor:
    """Reads how Exif says that a JPEG is to be turned, 1 to 8; 0 where only Pillow can tell."""

    def read() -> tf.Tensor:
        head = tf.strings.substr(jpeg, 0, _FIRST_TAGS_BYTES)
        found = tf.strings.regex_replace(head, _FIRST_TAGS, r"\1\2", replace_global=False)
        return tf.cond(
            tf.strings.length(found) == 1,
            lambda: tf.cast(tf.io.decode_raw(found, tf.uint8)[0], tf.int32),
            lambda: tf.constant(0),
        )

    def looked_for() -> tf.Tensor:
        head = tf.strings.substr(jpeg, 0, _METADATA_BYTES)
        is_turned = tf.strings.regex_full_match(head, _IS_TURNED)
        return tf.cond(is_turned, read, lambda: tf.constant(UPRIGHT))

    return tf.cond(_is_plain(jpeg), lambda: tf.constant(UPRIGHT), looked_for)


def _decoded_jpeg(encoded: tf.Tensor, scale: int) -> tf.Tensor:
    # The exact inverse transform, as Pillow's; it takes no longer.
    return tf.io.decode_jpeg(encoded, channels=3, ratio=scale, dct_method="INTEGER_ACCURATE")


def _turned(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    for orientations, change in (
        (_TRANSPOSED, lambda image: tf.transpose(image, (1, 0, 2))),
        (_MIRRORED, lambda image: tf.reverse(image, [1])),
        (_UPSIDE_DOWN, lambda image: tf.reverse(image, [0])),
    ):
        changed, same = functools.partial(change, image), functools.partial(tf.identity, image)
        image = tf.cond(tf.reduce_any(orientation == orientations), changed, same)
    return image
