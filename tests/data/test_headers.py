"""Sizes by the heads of files: upright, compared, and what is no image."""

import os

import numpy as np
import pytest
from PIL import Image, ImageFile

from pcd_tf import data
from pcd_tf.data import _headers
from pcd_tf.errors import UserError


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff"])
def test_the_size_is_the_decoded_one(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / f"a.{suffix}"
    Image.new("RGB", (40, 30)).save(file, exif=exif)
    assert _headers.size_of(file) == np.asarray(data.decode(file)).shape[:2]
    _headers.check_size(file, _headers.size_of(file), stated_by="its annotation")
    with pytest.raises(UserError, match="40 x 30|30 x 40"):
        _headers.check_size(file, _headers.size_of(file)[::-1], stated_by="its annotation")


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tiff"])
def test_only_the_head_is_read(tmp_path, suffix, monkeypatch):
    file = tmp_path / f"a.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 32, 3), np.uint8)
    Image.fromarray(noise).save(file)
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("it was decoded"))
    assert _headers.size_of(file) == (64, 32)


def test_a_head_of_too_many_pixels_names_the_setting(tmp_path, monkeypatch):
    file = tmp_path / "a.png"
    Image.new("L", (64, 64)).save(file)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(data.DecodeError, match=r"a\.png: it has more pixels than --max_pixels"):
        _headers.size_of(file)


def test_what_is_no_image_is_named(tmp_path):
    (tmp_path / "text.png").write_bytes(b"text")
    os.mkfifo(tmp_path / "pipe.png")  # opening it would wait for ever
    for name in ("text.png", "pipe.png", "away.png"):
        with pytest.raises(data.DecodeError, match=f"Cannot decode .*{name}"):
            _headers.size_of(tmp_path / name)


def test_the_first_fault_of_many_is_named():
    def check(index):
        if index % 2:
            raise UserError(f"Image {index} is wrong.")

    _headers.check_images(1, check)
    with pytest.raises(UserError, match="Image 1 is wrong. 99 more images are refused."):
        _headers.check_images(200, check)
    assert _headers.in_threads(str, range(3), "numbers", num_threads=2) == ["0", "1", "2"]
