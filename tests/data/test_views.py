import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pcd_tf import data, files
from pcd_tf.data import BYOL, MOCO_V3, Recipe, plain_images, two_views
from pcd_tf.data.folder import FolderSource
from pcd_tf.data.synthetic import SyntheticSource


def batches(source, count: int, *, seed=0, start_step=0, size=16, batch=4, recipe=BYOL):
    stream = two_views(
        source, recipe, image_size=size, global_batch_size=batch, seed=seed, start_step=start_step
    )
    return list(stream.take(count).as_numpy_iterator())


def same(first: dict, second: dict) -> bool:
    return all(np.array_equal(first[key], second[key]) for key in first)


def small_source(num_examples: int = 10) -> SyntheticSource:
    return SyntheticSource(0, num_examples=num_examples, image_size=48)


def test_a_batch_is_what_the_contract_says():
    stream = two_views(small_source(), BYOL, image_size=16, global_batch_size=4, seed=0)
    assert stream.element_spec == {
        "images": tf.TensorSpec((4, 2, 16, 16, 3), tf.uint8),
        "boxes": tf.TensorSpec((4, 2, 4), tf.float32),
        "flips": tf.TensorSpec((4, 2), tf.bool),
        "photometric": tf.TensorSpec((4, 2, 8), tf.float32),
        "index": tf.TensorSpec((4,), tf.int64),
    }
    assert stream.cardinality() == tf.data.INFINITE_CARDINALITY or stream.cardinality() < 0


def test_the_same_seed_gives_the_same_batches():
    first, again = batches(small_source(), 3, seed=7), batches(small_source(), 3, seed=7)
    assert all(same(a, b) for a, b in zip(first, again, strict=True))
    other = batches(small_source(), 1, seed=8)[0]
    assert not np.array_equal(other["index"], first[0]["index"])
    assert not np.array_equal(other["photometric"], first[0]["photometric"])


def test_an_epoch_has_every_image_once_and_the_next_one_other_views():
    seen = batches(small_source(), 5)  # two epochs of ten images
    index = np.concatenate([batch["index"] for batch in seen])
    assert sorted(index[:10]) == sorted(index[10:]) == list(range(10))
    assert index[:10].tolist() != index[10:].tolist()
    boxes = np.concatenate([batch["boxes"] for batch in seen])
    first, second = boxes[:10][np.argsort(index[:10])], boxes[10:][np.argsort(index[10:])]
    assert np.all(np.any(first != second, axis=(1, 2)))
    assert np.all(np.any(boxes[:, 0] != boxes[:, 1], axis=1))  # two views differ as well


@pytest.mark.parametrize("start_step", [1, 2, 3, 5, 7])
def test_a_resumed_stream_goes_on_where_it_was(start_step: int):
    whole = batches(small_source(), 9)  # 36 images: batches 2 and 7 lie across the end of an epoch
    resumed = batches(small_source(), 2, start_step=start_step)
    assert same(resumed[0], whole[start_step])
    assert same(resumed[1], whole[start_step + 1])


def coordinate_image(height: int, width: int) -> Image.Image:
    """Red is the column and green the row, both from 0 to 255 in whole steps."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0] = np.arange(width)
    pixels[..., 1] = np.arange(height)[:, None]
    return Image.fromarray(pixels)


@pytest.mark.parametrize("size", [24, 96])  # crops are reduced; many are enlarged
def test_the_pixels_of_a_view_lie_where_its_box_says(tmp_path: Path, size: int):
    height, width = 180, 240
    for i in range(16):
        coordinate_image(height, width).save(tmp_path / f"{i}.png")
    batch = batches(FolderSource(tmp_path), 1, size=size, batch=16)[0]
    assert 4 < batch["flips"].sum() < 28
    centres = (np.arange(size) + 0.5) / size
    inner = slice(size // 8, -size // 8)  # at the image's own border a wide filter is one-sided
    for images, boxes, flips in zip(batch["images"], batch["boxes"], batch["flips"], strict=True):
        for image, (y0, x0, y1, x1), flip in zip(images, boxes, flips, strict=True):
            rows = height * (y0 + (y1 - y0) * centres) - 0.5
            columns = width * (x0 + (x1 - x0) * centres) - 0.5
            columns = columns[::-1] if flip else columns
            red, green = image[..., 0].astype(float), image[..., 1].astype(float)
            assert np.abs(red - columns)[inner, inner].max() <= 0.75
            assert np.abs(green - rows[:, None])[inner, inner].max() <= 0.75


def test_a_view_is_antialiased(tmp_path: Path):
    """A fine chequered pattern becomes grey where it is reduced, not another pattern."""
    pattern = (np.indices((256, 256)).sum(axis=0) % 2 * 255).astype(np.uint8)
    for i in range(4):
        Image.fromarray(pattern).save(tmp_path / f"{i}.png")
    whole = dataclasses.replace(BYOL.first, crop_area=(0.9, 1.0))
    batch = batches(FolderSource(tmp_path), 1, size=16, recipe=Recipe(whole, whole))[0]
    assert np.abs(batch["images"].astype(int) - 127).max() <= 3


def test_a_big_jpeg_decoded_smaller_gives_the_same_view(tmp_path: Path):
    ramp = np.linspace(0, 255, 801)[:-1]
    pixels = np.stack(np.broadcast_arrays(ramp, ramp[:600, None], 128.0), axis=-1).astype(np.uint8)
    for i in range(8):
        Image.fromarray(pixels).save(tmp_path / f"{i}.jpg", quality=95)
    source = FolderSource(tmp_path)
    reduced = source.open(0, 0, min_pixels=MOCO_V3.min_pixels(16))
    assert reduced.size == (100, 75)
    batch = batches(source, 1, size=16, batch=8, recipe=MOCO_V3)[0]
    centres = (np.arange(16) + 0.5) / 16
    for images, boxes, flips in zip(batch["images"], batch["boxes"], batch["flips"], strict=True):
        for image, (_, x0, _, x1), flip in zip(images, boxes, flips, strict=True):
            columns = 255 * (x0 + (x1 - x0) * centres)
            columns = columns[::-1] if flip else columns
            assert np.abs(image[8, 2:-2, 0] - columns[2:-2]).max() < 4


def test_views_show_the_image_of_their_index():
    source = small_source()
    whole = dataclasses.replace(BYOL.first, crop_area=(1.0, 1.0), crop_ratio=(1.0, 1.0), flip=0.0)
    batch = batches(source, 1, size=48, recipe=Recipe(whole, whole))[0]
    np.testing.assert_array_equal(batch["boxes"], np.broadcast_to([0, 0, 1, 1], (4, 2, 4)))
    for index, images in zip(batch["index"], batch["images"], strict=True):
        for image in images:
            np.testing.assert_array_equal(image, source.example(int(index))["image"])


def test_replicas_divide_a_batch_without_changing_it(two_replicas):
    stream = two_views(small_source(), BYOL, image_size=16, global_batch_size=4, seed=0)
    batch = next(iter(two_replicas.experimental_distribute_dataset(stream)))
    values = {key: two_replicas.experimental_local_results(value) for key, value in batch.items()}
    assert [part.shape[0] for part in values["index"]] == [2, 2]
    joined = {
        key: np.concatenate([part.numpy() for part in parts]) for key, parts in values.items()
    }
    assert same(joined, batches(small_source(), 1)[0])


def test_plain_images_are_central_squares(tmp_path: Path):
    for i, width in enumerate((160, 80, 60)):
        coordinate_image(80, width).save(tmp_path / f"{i}.png")
    images = plain_images(FolderSource(tmp_path), image_size=20, indices=[2, 0])
    assert images.shape == (2, 20, 20, 3)
    assert images.dtype == np.uint8
    centres = (np.arange(20) + 0.5) / 20
    np.testing.assert_allclose(images[1, 10, 2:-2, 0], (40 + 80 * centres - 0.5)[2:-2], atol=0.75)
    np.testing.assert_allclose(images[0, 2:-2, 10, 1], (10 + 60 * centres - 0.5)[2:-2], atol=0.75)


def test_names_and_build():
    assert data.names() == ("folder", "synthetic", "tfds", "tfrecord")
    assert data.build("synthetic", seed=3).num_examples == 5000
    with pytest.raises(ValueError, match=r"Did you mean 'folder'\?"):
        data.build("foldr")


# What happens on the way to the pixels


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Ten images: common, rare, broken, very wide or high, and of a name that is no UTF-8."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    pictures = [Image.fromarray(small_source().example(i)["image"]) for i in range(10)]
    pictures[0].save(folder / "0.jpg")
    pictures[1].save(folder / "1.png")
    pictures[2].convert("CMYK").save(folder / "2.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    pictures[3].save(folder / "3.jpg", exif=exif)
    pictures[4].save(folder / "4.webp")
    pictures[5].convert("RGBA").save(folder / "5.png")
    pictures[6].resize((3000, 1)).save(folder / "6.jpg")
    pictures[7].resize((1, 3000)).save(folder / "7.png")
    (folder / "8.jpg").write_bytes((folder / "0.jpg").read_bytes()[:300])
    pictures[9].save(folder / "9.jpg")
    (folder / "9.jpg").rename(folder / b"9caf\xe9.jpg".decode(errors="surrogateescape"))
    return folder


def test_common_rare_and_broken_files_make_one_stream(mixed: Path, caplog):
    source = FolderSource(mixed)
    batch = batches(source, 2, batch=10, size=8)[1]
    assert sorted(batch["index"]) == [0, 1, 2, 3, 4, 5, 6, 7, 9, 9]  # 9 stands in for 8
    assert source.num_skipped == 1
    (line,) = [record.message for record in caplog.records]  # once in two epochs
    assert "8.jpg" in line
    assert np.all(batch["images"].std(axis=(1, 2, 3, 4)) > 1)


@pytest.mark.parametrize("num_threads", [1, 8])
def test_the_numbers_do_not_depend_on_the_threads(mixed: Path, num_threads: int, monkeypatch):
    expected = batches(FolderSource(mixed), 4, batch=3, size=8)
    monkeypatch.setattr(tf.data, "AUTOTUNE", num_threads)
    received = batches(FolderSource(mixed), 4, batch=3, size=8)
    assert all(same(a, b) for a, b in zip(expected, received, strict=True))


def test_a_view_of_a_rare_file_is_that_of_a_common_one(tmp_path: Path):
    """Only who decodes differs, not what is drawn."""
    pixels = small_source().example(0)["image"]
    for kind, mode in (("common", "RGB"), ("rare", "RGBA")):
        (tmp_path / kind).mkdir()
        for i in range(4):
            Image.fromarray(pixels).convert(mode).save(tmp_path / kind / f"{i}.png")
    common, rare = (batches(FolderSource(tmp_path / kind), 1)[0] for kind in ("common", "rare"))
    assert same(common, rare)


def test_a_disk_that_is_away_is_waited_for(mixed: Path, monkeypatch):
    expected = batches(FolderSource(mixed), 1, batch=10, size=8)
    source = FolderSource(mixed)
    monkeypatch.setattr(tf.data, "AUTOTUNE", 1)  # or one thread brings back what another looks for
    stream = two_views(source, BYOL, image_size=8, global_batch_size=10, seed=0)
    away = mixed.rename(mixed.parent / "away")

    def wait(pause: float) -> None:
        if away.exists():
            away.rename(mixed)

    monkeypatch.setattr(files.ending, "wait", wait)
    assert same(next(stream.as_numpy_iterator()), expected[0])
    assert source.num_skipped == 1
