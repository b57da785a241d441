from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pcd_tf import data
from pcd_tf.data import BYOL, two_views
from pcd_tf.data.folder import FolderSource
from pcd_tf.errors import UserError


def save(path: Path, colour: tuple[int, int, int] = (9, 90, 200)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (24, 16), colour).save(path)


def test_images_are_found_at_any_depth_and_sorted(tmp_path: Path):
    names = ["b.jpg", "a/x/deep.PNG", "a/1.JPEG", "c.WebP", "d.bmp", "e.gif", "a b/ü.png"]
    for name in names:
        save(tmp_path / name)
    for name in ("notes.txt", ".hidden.jpg", ".thumbnails/a.jpg", "a/jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("no image")
    source = FolderSource(tmp_path)
    assert source.files == sorted(names)
    assert source.num_examples == 7
    for index in range(7):
        assert source.open(index, None).size == (24, 16)


def test_linked_folders_are_followed_but_not_for_ever(tmp_path: Path):
    save(tmp_path / "real" / "a.png")
    save(tmp_path / "root" / "b.png")
    (tmp_path / "root" / "link").symlink_to(tmp_path / "real")
    (tmp_path / "root" / "loop").symlink_to(tmp_path / "root")
    assert FolderSource(tmp_path / "root").files == ["b.png", "link/a.png"]


def test_classes_are_the_folders_at_the_top(tmp_path: Path):
    for name in ("roses/1.png", "daisy/2.png", "roses/more/3.png"):
        save(tmp_path / name)
    source = FolderSource(tmp_path)
    assert source.class_names == ("daisy", "roses")
    assert [source.label(i) for i in range(3)] == [0, 1, 1]
    save(tmp_path / "4.png")
    unlabelled = FolderSource(tmp_path)
    assert unlabelled.class_names == ()
    assert unlabelled.label(0) == -1
    assert FolderSource(tmp_path / "roses").class_names == ()


def test_a_folder_that_is_not_there_or_empty_is_an_error(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(UserError, match=r"Received: .*/gone \(nothing at that path\)"):
        FolderSource(tmp_path / "gone")
    with pytest.raises(UserError, match=r"notes.txt \(a file\)"):
        FolderSource(tmp_path / "notes.txt")
    with pytest.raises(ValueError, match=r"\.bmp \.gif \.jpeg .* none, and 1 other files"):
        FolderSource(tmp_path)
    with pytest.raises(ValueError, match="Expected data_dir"):
        data.build("folder")


def test_fewer_images_than_a_batch_is_an_error_at_once(tmp_path: Path):
    for i in range(3):
        save(tmp_path / f"{i}.png")
    with pytest.raises(ValueError, match=r"global_batch_size=4, in .*Received: 3\. Add images"):
        two_views(FolderSource(tmp_path), BYOL, image_size=8, global_batch_size=4, seed=0)


def test_nothing_but_damaged_files_is_an_error_at_once(tmp_path: Path):
    for i in range(3):
        (tmp_path / f"{i}.jpg").write_bytes(b"no image")
    with pytest.raises(data.DecodeError, match=r"among the 3 of .*3 unreadable .*0\.jpg"):
        two_views(FolderSource(tmp_path), BYOL, image_size=8, global_batch_size=2, seed=0)


def test_files_that_go_bad_later_end_the_stream_with_an_error(tmp_path: Path):
    for i in range(3):
        save(tmp_path / f"{i}.png")
    batches = two_views(FolderSource(tmp_path), BYOL, image_size=8, global_batch_size=2, seed=0)
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(b"no image")
    with pytest.raises(Exception, match="Expected an image that can be decoded among the 3"):
        next(iter(batches))


@pytest.fixture
def damaged_folder(tmp_path: Path) -> Path:
    """Ten pictures of which 3, 4 and 9 cannot be decoded."""
    for i in range(10):
        save(tmp_path / f"{i}.png", (20 * i, 0, 0))
    for i in (3, 4):
        (tmp_path / f"{i}.png").write_bytes(b"no image")
    whole = (tmp_path / "9.png").read_bytes()
    (tmp_path / "9.png").write_bytes(whole[: len(whole) // 2])
    return tmp_path


def test_the_next_readable_file_takes_a_damaged_one_s_place(damaged_folder: Path, caplog):
    source = FolderSource(damaged_folder)
    used = {i: source.read(i, i) for i in (3, 4, 9, 2, 3, 4, 9)}
    assert {i: index for i, (index, _) in used.items()} == {3: 5, 4: 5, 9: 0, 2: 2}
    assert np.asarray(used[4][1])[0, 0].tolist() == [100, 0, 0]
    assert source.num_skipped == 3
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 3  # each damaged file once
    for name in ("3.png", "4.png", "9.png"):
        assert sum(f"{damaged_folder / name}" in message for message in messages) == 1


def test_positions_in_the_stream_stay_exact_with_damaged_files(damaged_folder: Path):
    def batches(start_step: int, count: int):
        stream = two_views(
            FolderSource(damaged_folder),
            BYOL,
            image_size=8,
            global_batch_size=4,
            seed=2,
            start_step=start_step,
        )
        return list(stream.take(count).as_numpy_iterator())

    whole = batches(0, 8)
    used = np.concatenate([batch["index"] for batch in whole])
    assert set(used) == {0, 1, 2, 5, 6, 7, 8}
    assert np.bincount(used[:10], minlength=10).tolist() == [2, 1, 1, 0, 0, 3, 1, 1, 1, 0]
    # The images are those of the index: pictures are of one colour, 20 times their number.
    red = np.concatenate([batch["images"][:, :, 0, 0, 0] for batch in whole])
    np.testing.assert_array_equal(red, np.stack([20 * used] * 2, axis=1))
    for start_step in (1, 2, 5, 7):  # batch 2 and batch 7 lie across the end of an epoch
        for resumed, expected in zip(batches(start_step, 2), whole[start_step:], strict=False):
            for key, value in expected.items():
                np.testing.assert_array_equal(resumed[key], value, err_msg=key)


def test_photographs_make_views(shared_images: Path):
    source = FolderSource(shared_images / "flowers" / "train")
    assert source.class_names == ("daisy", "dandelion", "roses", "sunflowers", "tulips")
    batch = next(iter(two_views(source, BYOL, image_size=32, global_batch_size=8, seed=0)))
    assert batch["images"].shape == (8, 2, 32, 32, 3)
    assert float(np.std(batch["images"])) > 30
    assert source.num_skipped == 0


def test_examples_to_show_are_spread_over_the_source(tmp_path: Path):
    for number in range(8):
        save(tmp_path / f"{number}.png")
    source = FolderSource(tmp_path)
    assert source.examples_to_show(4) == [0, 2, 4, 6]
    assert source.examples_to_show(99) == list(range(8))


def test_a_name_that_is_no_utf8_can_be_written_anywhere(tmp_path: Path):
    save(tmp_path / "plain é.png")
    (tmp_path / "plain é.png").rename(tmp_path / b"caf\xe9.png".decode(errors="surrogateescape"))
    source = FolderSource(tmp_path)
    assert source.image_name(0) == "caf\\udce9.png"
    assert source.open(0, 0).size == (24, 16)
