"""Images with class maps: the layouts, their errors, and batches that depend on the step alone."""

import numpy as np
import pytest
from PIL import Image

from pcd_tf import segmented
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
    return segmented.build("png_maps", data_dir=str(folder), split="train")


def test_class_names_are_numbers_or_those_of_the_file(folder):
    assert source(folder).class_names == ("0", "1", "2")
    (folder / "classes.txt").write_text("rest\ncat\ndog\n")
    assert source(folder).class_names == ("rest", "cat", "dog")


def test_batches_show_each_image_once_an_epoch_with_its_own_classes(folder):
    (batch,) = segmented.batches(source(folder), image_size=32, global_batch_size=3, seed=0).take(1)
    images, maps = batch["images"].numpy(), batch["maps"].numpy()
    assert images.shape == (3, 32, 32, 3)
    assert maps.shape == (3, 32, 32)
    assert set(np.unique(maps)) <= {0, 2, 255}
    bright, dark = images[..., 0] > 180, images[..., 0] < 20
    assert (maps[bright] != 0).all()
    assert (maps[dark] != 2).all()


def test_a_stream_that_starts_later_is_the_rest_of_the_whole_one(folder):
    def batches(start):
        stream = segmented.batches(
            source(folder), image_size=32, global_batch_size=2, seed=3, start_step=start
        )
        return [batch["maps"].numpy() for batch in stream.take(5 - start)]

    for expected, received in zip(batches(0)[2:], batches(2), strict=True):
        np.testing.assert_array_equal(expected, received)


def test_in_order_keeps_the_aspect_and_pads_with_the_ignored_class(folder):
    (batch,) = segmented.in_order(source(folder), image_size=32, batch_size=4)
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
        segmented.build("png_maps", data_dir=str(folder), split="dev")


def test_an_unknown_class_is_named(folder):
    (folder / "classes.txt").write_text("rest\ncat\n")
    with pytest.raises(ValueError, match=r"class ids 0 to 1, .* Received: 2 in .*0.png"):
        source(folder).semantic_map(0)


def test_a_map_of_colours_is_refused(folder):
    Image.new("RGB", (60, 40)).save(folder / "train_sem" / "0.png")
    (folder / "classes.txt").write_text("rest\ncat\ndog\n")
    with pytest.raises(ValueError, match="0.png, of mode RGB. Colours must be turned into ids"):
        source(folder).semantic_map(0)


def test_an_empty_split_is_refused(folder):
    for file in (folder / "val").iterdir():
        file.unlink()
    with pytest.raises(ValueError, match="Expected images with class maps .* Received: none"):
        segmented.build("png_maps", data_dir=str(folder), split="val")


def test_vocs_layout_lists_its_splits(tmp_path):
    (tmp_path / "ImageSets" / "Segmentation").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Segmentation" / "val.txt").write_text("a\n")
    with pytest.raises(UserError, match="Splits there: val"):
        segmented.build("voc", data_dir=str(tmp_path), split="train")
    for name, kind in (("JPEGImages", "jpg"), ("SegmentationClass", "png")):
        (tmp_path / name).mkdir()
        Image.new("RGB" if kind == "jpg" else "L", (8, 8), 0).save(tmp_path / name / f"a.{kind}")
    val = segmented.build("voc", data_dir=str(tmp_path), split="val")
    assert (val.num_examples, len(val.class_names), val.class_names[15]) == (1, 21, "person")


def test_the_synthetic_world_has_a_class_at_every_pixel():
    world = segmented.build("synthetic", split="val")
    assert world.class_names[0] == "background"
    assert world.semantic_map(3).shape == world.image(3).shape[:2]
    assert world.semantic_map(3).max() > 0


def test_real_class_maps(shared_images):
    real = segmented.build("png_maps", data_dir=str(shared_images / "voc_mini"), split="test")
    assert (real.num_examples, len(real.class_names)) == (277, 21)
