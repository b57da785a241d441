from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pcd_tf.data import centre_crop, images_in_order, plain_images
from pcd_tf.data.folder import FolderSource
from pcd_tf.data.synthetic import SyntheticSource


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Seven random images of different shapes in two classes; number 2 is none."""
    random = np.random.default_rng(0)
    for i in range(7):
        file = tmp_path / ("cats" if i < 4 else "dogs") / f"{i}.png"
        file.parent.mkdir(exist_ok=True)
        pixels = random.integers(0, 256, (20 + 3 * i, 40 - 4 * i, 3), np.uint8)
        Image.fromarray(pixels).save(file)
    (tmp_path / "cats" / "2.png").write_bytes(b"no image")
    return tmp_path


def collected(source, **kwargs):
    stream = images_in_order(source, image_size=16, batch_size=3, **kwargs)
    return list(stream.as_numpy_iterator())


def test_every_image_comes_once_in_order_as_plain_images_makes_it(folder: Path):
    source = FolderSource(folder)
    batches = collected(source)
    assert [len(batch["index"]) for batch in batches] == [3, 3, 1]
    joined = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    assert joined["index"].tolist() == list(range(7))
    assert joined["label"].tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert joined["images"].shape == (7, 16, 16, 3)
    assert joined["images"].dtype == np.uint8
    readable = [0, 1, 3, 4, 5, 6]
    expected = plain_images(source, image_size=16, indices=readable)
    np.testing.assert_array_equal(joined["images"][readable], expected)


def protocol(image: Image.Image, image_size: int) -> np.ndarray:
    """Resize(256) and CenterCrop(224) of torchvision, or their like for another size."""
    short = round(image_size * 256 / 224)
    width, height = (int(short * side / min(image.size)) for side in image.size)
    left, top = (round((side - image_size) / 2) for side in (width, height))
    whole = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(whole.crop((left, top, left + image_size, top + image_size)))


@pytest.mark.parametrize("image_size", [224, 96, 32])
@pytest.mark.parametrize("size", [(500, 375), (375, 501), (256, 256), (1200, 301)])
def test_centre_crop_is_resize_256_and_center_crop_224(tmp_path, size, image_size: int):
    """The square is one of whole pixels, so it lies half a pixel aside at most."""
    rng = np.random.default_rng(0)
    cell = min(size) // 8
    noise = rng.integers(0, 256, (size[1] // cell + 2, size[0] // cell + 2, 3), np.uint8)
    image = Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)
    image.save(tmp_path / "a.png")
    stream = images_in_order(
        FolderSource(tmp_path), image_size=image_size, batch_size=1, crop=centre_crop
    )
    received = next(stream.as_numpy_iterator())["images"][0]
    expected = protocol(image, image_size)
    assert received.shape == expected.shape
    assert np.abs(received.astype(int) - expected).mean() < 4  # levels of 256


@pytest.mark.parametrize("image_size", [224, 32])
@pytest.mark.parametrize(
    "size", [(375, 500), (500, 375), (256, 256), (31, 40), (640, 90), (1, 60_000), (2, 3), (1, 1)]
)
def test_centre_crop_is_the_square_of_the_protocol(size: tuple[int, int], image_size: int):
    short = round(image_size * 256 / 224)
    box = centre_crop(tf.constant(size), image_size).numpy().reshape(2, 2)
    for side, start, stop in zip(size, *box, strict=True):
        assert 0 <= start < stop <= side
        assert stop - start == max(1, round(min(size) * image_size / short))
        resized = side * short // min(size)
        margin = round((resized - image_size) / 2)
        assert abs(start - margin * side / resized) <= 0.51


def test_nothing_stands_in_for_an_image_that_cannot_be_decoded(folder: Path, caplog):
    source = FolderSource(folder)
    joined = np.concatenate([batch["readable"] for batch in collected(source)])
    assert joined.tolist() == [True, True, False, True, True, True, True]
    images = np.concatenate([batch["images"] for batch in collected(source)])
    assert not images[2].any()
    assert source.num_skipped == 1
    (line,) = [record.message for record in caplog.records]  # once, though read twice
    assert "cats/2.png" in line


@pytest.mark.parametrize("start", [3, 6, 7])
def test_it_can_start_later(folder: Path, start: int):
    whole = {int(b["index"][0]): b for b in collected(FolderSource(folder))}
    later = collected(FolderSource(folder), start=start)
    assert len(later) == (7 - start + 2) // 3
    for batch in later:
        for name, values in whole[int(batch["index"][0])].items():
            np.testing.assert_array_equal(batch[name], values)


def test_images_with_several_objects_have_no_label():
    source = SyntheticSource(0, split="val", num_examples=4, image_size=24)
    (first, second) = collected(source)
    assert [*first["label"], *second["label"]] == [-1] * 4
    assert source.image_name(3) == "val/3"
