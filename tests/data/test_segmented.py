"""Images with class maps: the layouts, their errors, and batches that depend on the step alone."""

import io
import os
import shutil
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pcd_tf import data, errors
from pcd_tf.data import _native, _segmented, png_maps
from pcd_tf.errors import UserError


@pytest.fixture
def folder(tmp_path):
    """Three images of different shapes; class 2 fills the right half, 255 the top row."""
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        (tmp_path / f"{split}_sem").mkdir()
        for number, (height, width) in enumerate([(40, 60), (60, 40), (30, 30)]):
            classes = np.zeros((height, width), np.uint8)
            classes[:, width // 2 :] = 2
            classes[0] = 255
            picture = np.repeat((classes == 2).astype(np.uint8)[..., None] * 200, 3, axis=-1)
            Image.fromarray(picture).save(tmp_path / split / f"{number}.png")
            Image.fromarray(classes).save(tmp_path / f"{split}_sem" / f"{number}.png")
    return tmp_path


def source(folder):
    return data.build_segmented("png_maps", data_dir=str(folder), split="train")


def test_class_names_are_numbers_or_those_of_the_file(folder):
    assert source(folder).class_names == ("0", "1", "2")
    (folder / "classes.txt").write_text("rest\ncat\ndog\n")
    assert source(folder).class_names == ("rest", "cat", "dog")


def test_the_maps_of_two_splits_are_searched_for_classes_once(folder, monkeypatch):
    read, largest_id = [], png_maps._largest_id

    def counted(path):
        read.append(path)
        return largest_id(path)

    monkeypatch.setattr(png_maps, "_largest_id", counted)
    train, val = data.build_segmented_two("png_maps", ("train", "val"), data_dir=str(folder))
    assert train.class_names == val.class_names == ("0", "1", "2")
    assert (train.name, val.name) == (str(folder / "train"), str(folder / "val"))
    assert len(read) == len(set(read)) == 6


def test_batches_show_each_image_once_an_epoch_with_its_own_classes(folder):
    (batch,) = data.segmented_batches(
        source(folder), image_size=32, global_batch_size=3, seed=0
    ).take(1)
    images, maps = batch["images"].numpy(), batch["maps"].numpy()
    assert images.shape == (3, 32, 32, 3)
    assert maps.shape == (3, 32, 32)
    assert set(np.unique(maps)) <= {0, 2, 255}
    bright, dark = images[..., 0] > 180, images[..., 0] < 20
    assert (maps[bright] != 0).all()
    assert (maps[dark] != 2).all()


def test_a_stream_that_starts_later_is_the_rest_of_the_whole_one(folder):
    def batches(start):
        stream = data.segmented_batches(
            source(folder), image_size=32, global_batch_size=2, seed=3, start_step=start
        )
        return [batch["maps"].numpy() for batch in stream.take(5 - start)]

    for expected, received in zip(batches(0)[2:], batches(2), strict=True):
        np.testing.assert_array_equal(expected, received)


class Numbered(data.Source):
    """Flat images that show their number; with class maps, both come in a record, as bytes."""

    is_encoded = True

    def __init__(self, map_kind="L"):
        super().__init__("numbered", 5)
        self.map_kind = map_kind

    def image_name(self, index):
        return f"image {index}"

    def shuffled(self, seed, start=0):
        return super().shuffled(seed, start).map(self._with_payloads)

    def encoded(self, record):
        return record["payload"]

    def open(self, index, payload, *, min_pixels=None):
        return _segmented.read_ids(payload, name=self.image_name(index))

    def _with_payloads(self, record):
        image = tf.fill((8, 8, 3), tf.cast(record["index"], tf.uint8))
        ids = np.tile(np.arange(8, dtype=np.uint8) % 3, (8, 1))
        encoded = {"payload": tf.io.encode_png(image), "map": png(ids, self.map_kind)}
        return {**record, **encoded}


def png(ids, kind):
    """Encodes ids as a PNG: L, greyscale; P, with a palette; P4, of 4 bits; RGB, as colours."""
    image = Image.fromarray(ids)
    if kind.startswith("P"):
        image.putpalette(bytes(range(255, -1, -1)) * 3)
    options = {"P4": {"bits": 4}, "P transparent": {"transparency": 1}}
    file = io.BytesIO()
    (image.convert("RGB") if kind == "RGB" else image).save(file, "PNG", **options.get(kind, {}))
    return file.getvalue()


def numbered(map_kind="L", class_names="abc"):
    return data.Segmented(Numbered(map_kind), Numbered(), class_names)


def first_batch(whole, **settings):
    options = {"image_size": 8, "global_batch_size": 1, "seed": 7, **settings}
    with errors.translated():
        return next(data.segmented_batches(whole, **options).as_numpy_iterator())


def test_the_order_of_an_epoch_is_that_of_every_source():
    whole = numbered()
    stream = data.segmented_batches(
        whole, image_size=8, global_batch_size=1, seed=7, start_step=3
    ).take(12)
    shown = [batch["images"].numpy().max() for batch in stream]
    records = Numbered().shuffled(7).skip(3).take(12)
    assert shown == [record["index"].numpy() for record in records]


@pytest.mark.parametrize(
    ("kind", "is_native"), [("L", True), ("P", True), ("P transparent", False), ("P4", False)]
)
def test_common_maps_are_read_without_python(monkeypatch, kind, is_native):
    called = []
    read_ids = _segmented.read_ids

    def counted(*args, **settings):
        called.append(settings)
        return read_ids(*args, **settings)

    monkeypatch.setattr(_segmented, "read_ids", counted)
    batch = first_batch(numbered(kind), image_size=64)
    assert {0, 1, 2} <= set(np.unique(batch["maps"])) <= {0, 1, 2, 255}
    assert bool(called) != is_native


@pytest.mark.parametrize(
    ("whole", "message"),
    [
        (numbered("L", "ab"), "class ids 0 to 1, or 255 to ignore. Received: 2 in image"),
        (numbered("P", "ab"), "class ids 0 to 1, or 255 to ignore. Received: 2 in image"),
        (numbered("RGB"), "image [0-4], of mode RGB. Colours must be turned into ids first"),
    ],
)
def test_a_map_that_cannot_be_used_ends_the_stream(whole, message):
    with pytest.raises(UserError, match=message):
        first_batch(whole)


def test_a_damaged_map_ends_the_stream(folder):
    file = folder / "train_sem" / "1.png"
    file.write_bytes(file.read_bytes()[:-30])
    (folder / "classes.txt").write_text("rest\ncat\ndog\n")
    with pytest.raises(UserError, match="Cannot decode .*train_sem/1.png"):
        first_batch(source(folder), global_batch_size=3)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(
    ("size", "name", "kind"),
    [((75, 101), "a.png", "L"), ((75, 101), "a.png", "P"), ((1203, 901), "a.jpg", "L")],
    ids=["greyscale", "palette", "decoded smaller"],
)
def test_an_image_and_its_map_are_cut_alike(tmp_path, size, name, kind, axis):
    """Image and map are the same ramp, so that a shift of a part of a pixel shows."""
    ramp = np.linspace(0, 200, size[axis], endpoint=False)
    values = np.broadcast_to(ramp[:, None] if axis == 0 else ramp, size).astype(np.uint8)
    for folder in ("train", "train_sem"):
        (tmp_path / folder).mkdir()
    Image.fromarray(values).convert("RGB").save(tmp_path / "train" / name, quality=95)
    (tmp_path / "train_sem" / "a.png").write_bytes(png(values, kind))
    whole = data.build_segmented(
        "png_maps",
        data_dir=str(tmp_path),
        split="train",
        class_names=[str(number) for number in range(200)],
    )
    stream = data.segmented_batches(whole, image_size=32, global_batch_size=16, seed=0)
    batch = next(stream.as_numpy_iterator())
    steps, ratio = [], max(size) / min(size)
    for image, classes in zip(batch["images"], batch["maps"], strict=True):
        inside = classes != 255
        assert (image[~inside] == 0).all()
        rows, columns = inside.any(axis=1).sum(), inside.any(axis=0).sum()
        filled = classes[:rows, :columns].astype(float)
        assert inside[:rows, :columns].all()
        longer = max(rows, columns)
        assert longer == 32 or longer / min(rows, columns) == pytest.approx(ratio, rel=0.1)
        pixel = np.abs(np.diff(filled, axis=axis)).mean()  # grey levels of one pixel
        difference = image[:rows, :columns, 0] - filled
        assert abs(difference.mean()) < 0.25 * pixel
        assert abs(difference).max() < 1.6 * pixel + 3
        steps.append(np.diff(filled, axis=axis).mean() / pixel)
    assert {round(step) for step in steps} == ({1} if axis == 0 else {-1, 1})  # some are flipped


def test_a_map_of_another_size_is_found_beside_an_image_decoded_smaller(tmp_path):
    for folder in ("train", "train_sem"):
        (tmp_path / folder).mkdir()
    Image.new("RGB", (800, 600)).save(tmp_path / "train" / "a.jpg")
    Image.new("L", (800, 604)).save(tmp_path / "train_sem" / "a.png")
    with pytest.raises(UserError, match=r"one size. Received: \(75, 100\) and \(604, 800\)"):
        first_batch(source(tmp_path))


def test_in_order_keeps_the_aspect_and_pads_with_the_ignored_class(folder):
    (batch,) = data.segmented_in_order(source(folder), image_size=32, batch_size=4)
    assert batch["size"].numpy().tolist() == [[21, 32], [32, 21], [32, 32]]
    assert (batch["maps"].numpy()[0, 21:] == 255).all()
    assert (batch["images"].numpy()[0, 21:] == 0).all()
    assert batch["index"].numpy().tolist() == [0, 1, 2]


def test_a_missing_map_is_named(folder):
    (folder / "train_sem" / "1.png").unlink()
    with pytest.raises(ValueError, match=r"1 files that do not exist: .*train_sem/1.png"):
        source(folder)


def test_a_missing_split_is_named(folder):
    with pytest.raises(UserError, match=r"no directory .*/dev"):
        data.build_segmented("png_maps", data_dir=str(folder), split="dev")


def test_an_unknown_class_is_named(folder):
    (folder / "classes.txt").write_text("rest\ncat\n")
    with pytest.raises(ValueError, match=r"class ids 0 to 1, .* Received: 2 in .*0.png"):
        source(folder).semantic_map(0)


def write_maps(folder, *ids):
    """Gives every map of both splits these ids, in rows."""
    for file in folder.glob("*_sem/*.png"):
        height, width = np.asarray(Image.open(file)).shape
        rows = np.array(ids, np.uint8)[np.arange(height) % len(ids)]
        Image.fromarray(np.repeat(rows[:, None], width, axis=1)).save(file)


@pytest.mark.parametrize("names", ["", "rest\nsquare\n"])
def test_masks_of_0_and_255_are_asked_about(folder, names):
    write_maps(folder, 0, 255)
    if names:
        (folder / "classes.txt").write_text(names)
    message = r"two classes or more in 3 maps of .*train. Received: the ids 0, 255 alone. 255 is .*"
    with pytest.raises(UserError, match=message + r"Is it the foreground here\? Then write .*= 1"):
        source(folder).check(to_learn=True)


def test_a_single_class_is_nothing_to_tell_apart(folder):
    write_maps(folder, 0)
    with pytest.raises(UserError, match="Received: the ids 0 alone.$"):
        source(folder).check(to_learn=True)


def test_a_single_class_of_what_is_only_scored_is_told(folder, caplog):
    (folder / "classes.txt").write_text("rest\ncat\ndog\n")
    write_maps(folder, 0)
    source(folder).check(to_learn=False)
    assert "3 maps of" in caplog.text
    assert "none shows 2 of the 3 classes: cat, dog." in caplog.text


def test_a_single_class_of_some_of_the_maps_is_told(folder, caplog, monkeypatch):
    monkeypatch.setattr(_segmented, "NUM_LOOKED_AT", 2)
    (folder / "classes.txt").write_text("rest\ncat\ndog\n")
    write_maps(folder, 0)
    source(folder).check(to_learn=True)
    assert "2 maps of" in caplog.text
    (folder / "classes.txt").unlink()  # then all were read, for their largest id
    with pytest.raises(UserError, match="Received: the ids 0 alone.$"):
        source(folder).check(to_learn=True)


def test_the_maps_that_are_looked_at_are_at_no_regular_steps(folder, caplog, monkeypatch):
    monkeypatch.setattr(_segmented, "NUM_LOOKED_AT", 20)
    (folder / "classes.txt").write_text("rest\ncat\n")
    names = [f"{number:02}.png" for number in range(60)]
    for number, name in enumerate(names):
        shutil.copy(folder / "train" / "0.png", folder / "train" / name)
        ids = np.full((40, 60), number % 3 > 0, np.uint8)  # every third shows another class
        Image.fromarray(ids).save(folder / "train_sem" / name)
    for number in range(3):
        (folder / "train" / f"{number}.png").unlink()
    source(folder).check(to_learn=True)
    assert "none shows" not in caplog.text


@pytest.mark.parametrize(("ids", "asked"), [((0, 2), False), ((0, 2, 255), True)])
def test_classes_that_no_map_shows_are_named(folder, caplog, ids, asked):
    write_maps(folder, *ids)
    source(folder).check(to_learn=True)
    assert "none shows 1 of the 3 classes: 1." in caplog.text
    assert ("Is it the foreground here?" in caplog.text) == asked
    caplog.clear()
    write_maps(folder, 0, 1, 2, 255)
    source(folder).check(to_learn=True)
    assert not caplog.text


@pytest.mark.parametrize("written", ["rest\n\ndog\n", "rest\ncat\ncat\n", "a\n" * 256, "\x1b\n"])
def test_class_names_must_tell_the_classes_apart(folder, written):
    (folder / "classes.txt").write_text(written)
    with pytest.raises(UserError, match="classes.txt a name of its own for each class"):
        source(folder)


def test_class_names_may_begin_with_a_byte_order_mark(folder):
    (folder / "classes.txt").write_bytes("\ufeffrest\r\nch\u00e2t\r\n\x1b[1mdog\r\n".encode())
    assert source(folder).class_names == ("rest", "ch\u00e2t", "[1mdog")
    (folder / "classes.txt").write_bytes("rest\nch\u00e2t".encode("latin-1"))
    with pytest.raises(UserError, match="UTF-8, .*classes.txt"):
        source(folder)


def test_what_other_systems_leave_behind_is_passed_over(folder):
    for name in ("train/._0.png", "train_sem/._0.png", "val_sem/._1.png"):
        (folder / name).write_bytes(b"\x00\x05\x16\x07 Mac OS X")
    assert source(folder).num_examples == 3
    assert source(folder).class_names == ("0", "1", "2")


@pytest.mark.parametrize("names", ["", "rest\ncat\ndog\n"])
def test_a_pipe_in_place_of_a_map_is_named(folder, names):
    (folder / "train_sem" / "1.png").unlink()
    os.mkfifo(folder / "train_sem" / "1.png")  # reading it would wait for ever
    if names:
        (folder / "classes.txt").write_text(names)
    with pytest.raises(UserError, match="train_sem/1.png"):
        source(folder)


def test_an_image_and_its_map_are_of_one_size(folder):
    Image.new("RGB", (60, 41)).save(folder / "train" / "0.png")
    whole = source(folder)
    with pytest.raises(
        UserError, match="train/0.png to be 60 x 40 .*train_sem/0.png says.* 60 x 41"
    ):
        whole.check(to_learn=True)
    for stream in (
        data.segmented_batches(whole, image_size=32, global_batch_size=3, seed=0),
        data.segmented_in_order(whole, image_size=32, batch_size=3),
    ):
        with (
            pytest.raises(UserError, match=r"\(41, 60\) and \(40, 60\) .* of 0.png in .*train"),
            errors.translated(),
        ):
            next(iter(stream))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (60, 40)).save(folder / "train" / "0.png", exif=exif)
    with pytest.raises(UserError, match="made on the unturned picture"):
        source(folder).check(to_learn=True)


def test_a_map_of_too_many_pixels_is_refused_at_its_head(folder):
    file = folder / "train_sem" / "0.png"
    content = bytearray(file.read_bytes())
    content[16:24] = struct.pack(">II", 30_000, 30_000)  # width and height
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"train_sem/0.png: it has more pixels than --max_"):
        source(folder)


def test_a_map_of_colours_is_refused(folder):
    Image.new("RGB", (60, 40)).save(folder / "train_sem" / "0.png")
    (folder / "classes.txt").write_text("rest\ncat\ndog\n")
    with pytest.raises(ValueError, match="0.png, of mode RGB. Colours must be turned into ids"):
        source(folder).semantic_map(0)


def test_an_empty_split_is_refused(folder):
    for file in (folder / "val").iterdir():
        file.unlink()
    with pytest.raises(ValueError, match="Expected images with class maps .* Received: none"):
        data.build_segmented("png_maps", data_dir=str(folder), split="val")


def test_vocs_layout_lists_its_splits(tmp_path):
    (tmp_path / "ImageSets" / "Segmentation").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Segmentation" / "val.txt").write_text("a\n")
    with pytest.raises(UserError, match="no such file; there are val"):
        data.build_segmented("voc", data_dir=str(tmp_path), split="train")
    for name, kind in (("JPEGImages", "jpg"), ("SegmentationClass", "png")):
        (tmp_path / name).mkdir()
        Image.new("RGB" if kind == "jpg" else "L", (8, 8), 0).save(tmp_path / name / f"a.{kind}")
    (tmp_path / "ImageSets" / "Segmentation" / "val.txt").write_bytes(b"\xef\xbb\xbfa\r\n")
    val = data.build_segmented("voc", data_dir=str(tmp_path), split="val")
    assert (val.num_examples, len(val.class_names), val.class_names[15]) == (1, 21, "person")
    (tmp_path / "ImageSets" / "Segmentation" / "val.txt").write_text("../JPEGImages/a\n")
    with pytest.raises(UserError, match="inside the data directory .* '../JPEGImages/a'"):
        data.build_segmented("voc", data_dir=str(tmp_path), split="val")


def test_the_synthetic_world_has_a_class_at_every_pixel():
    world = data.build_segmented("synthetic", split="val")
    assert world.class_names[0] == "background"
    assert world.semantic_map(3).shape == world.image(3).shape[:2]
    assert world.semantic_map(3).max() > 0


def test_real_class_maps(shared_images):
    real = data.build_segmented("png_maps", data_dir=str(shared_images / "voc_mini"), split="test")
    assert (real.num_examples, len(real.class_names)) == (277, 21)
    for index in range(0, 277, 40):
        encoded = real.maps.encoded({"index": tf.constant(index)})
        is_decoded, ids = _native.decode_ids(encoded)
        assert is_decoded
        np.testing.assert_array_equal(ids, real.semantic_map(index))


def test_all_class_maps_are_read_in_order(folder):
    maps = list(data.class_maps(source(folder)))
    assert [ids.shape for ids in maps] == [(40, 60), (60, 40), (30, 30)]
    for index, ids in enumerate(maps):
        np.testing.assert_array_equal(ids, source(folder).semantic_map(index))
    (folder / "train_sem" / "1.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"Cannot decode .*1\.png"):
        list(data.class_maps(source(folder)))
