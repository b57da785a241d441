import os
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pcd_tf import data, files
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
    assert [source.labels[i] for i in range(3)] == [0, 1, 1]
    assert source.notes == []
    assert FolderSource(tmp_path / "roses").class_names == ()


def test_images_beside_the_class_folders_are_named(tmp_path: Path):
    for name in ("roses/1.png", "daisy/2.png", "a.png", "b\x1b[31m.png", "c.png", "d.png"):
        save(tmp_path / name)
    source = FolderSource(tmp_path)
    assert (source.class_names, source.labels[0]) == ((), -1)
    (note,) = source.notes
    assert "beside the folders (4: a.png, b[31m.png, c.png, d.png)" in note


@pytest.mark.parametrize(
    ("folders", "class_names"),
    [
        (("train", "val"), ()),
        (("Training", "test", "extra"), ()),
        (("train2017", "val2017"), ()),
        (("train", "train_sem"), ()),
        (("bus", "train"), ("bus", "train")),  # the vehicle
        (("testudo", "valley"), ("testudo", "valley")),
    ],
)
def test_splits_are_no_classes_and_it_is_said(tmp_path: Path, folders, class_names):
    for folder in folders:
        save(tmp_path / folder / "daisy" / "1.png")
    source = FolderSource(tmp_path)
    assert source.num_examples == len(folders)
    assert source.class_names == class_names
    assert [source.labels[0] >= 0, "names of splits" in str(source.notes)] == [
        bool(class_names),
        not class_names,
    ]


# Several directories


def test_several_directories_are_one_source(tmp_path: Path):
    for name in ("train/daisy/1.png", "train/roses/2.png", "extra/roses/3.png", "val/daisy/4.png"):
        save(tmp_path / name)
    source = FolderSource(f"{tmp_path}/train, {tmp_path}/extra")
    assert source.files == ["train/daisy/1.png", "train/roses/2.png", "extra/roses/3.png"]
    assert source.class_names == ("daisy", "roses")
    assert [source.labels[i] for i in range(3)] == [0, 1, 1]
    assert source.open(2, 2).size == (24, 16)
    with pytest.raises(UserError, match=r"Received: .*/gone \(nothing"):
        FolderSource(f"{tmp_path}/train,{tmp_path}/gone")


def test_what_lies_in_two_directories_is_listed_once(tmp_path: Path):
    for name in ("a.png", "inner/b.png"):
        save(tmp_path / name)
    for second in (tmp_path, tmp_path / "inner"):
        assert FolderSource(f"{tmp_path},{second}").files == ["a.png", "inner/b.png"]
    assert FolderSource(f"{tmp_path}/inner,{tmp_path}").files == ["inner/b.png", "a.png"]


def test_a_comma_in_the_name_of_a_directory_is_kept(tmp_path: Path):
    save(tmp_path / "a, b" / "1.png")
    assert FolderSource(tmp_path / "a, b").files == ["1.png"]


# What is left out


def test_all_that_can_be_decoded_is_listed_and_the_rest_counted(tmp_path: Path):
    names = ["a.tif", "b.TIFF", "c.jfif", "d.ppm", "e.pgm"]
    for name in names:
        save(tmp_path / name)
    left_out = ["1.heic", "2.HEIC", "x/3.heic", "notes.txt", "README", "x.0001", "y.\x1b[31m"]
    for name in (*left_out, ".hidden.jpg", "._a.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    source = FolderSource(tmp_path)
    assert source.files == names
    assert source.left_out == {".heic": 3, "without a known suffix": 3, ".txt": 1}
    assert source.notes == ["left out: 3 .heic, 3 without a known suffix, 1 .txt"]


def test_kinds_that_are_many_are_added_up(tmp_path: Path):
    save(tmp_path / "a.png")
    for number in range(15):
        (tmp_path / f"b.x{number}").touch()
    left_out = FolderSource(tmp_path).left_out
    assert (len(left_out), left_out["others"], sum(left_out.values())) == (11, 5, 15)


def test_links_to_nowhere_pipes_and_sockets_are_counted(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    save(tmp_path / "a.png")
    (tmp_path / "self.png").symlink_to("self.png")
    (tmp_path / "gone.png").symlink_to("nothing.png")
    (tmp_path / "good.png").symlink_to("a.png")
    os.mkfifo("fifo.png")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.png")
        source = FolderSource(tmp_path)
    assert source.files == ["a.png", "good.png"]
    assert source.left_out == {"links that lead nowhere": 2, "pipes and devices": 2}


def test_a_pipe_that_takes_a_file_s_place_is_passed_over(tmp_path: Path):
    for name in ("a.png", "b.png"):
        save(tmp_path / name)
    source = FolderSource(tmp_path)
    (tmp_path / "a.png").unlink()
    os.mkfifo(tmp_path / "a.png")
    assert source.read(0, 0)[0] == 1


# The directory goes away


@pytest.mark.parametrize("emptied", [False, True], ids=["gone", "not mounted"])
def test_a_directory_that_is_away_is_waited_for_and_no_image_is_blamed(
    tmp_path: Path, monkeypatch, emptied: bool
):
    root = tmp_path / "disk"
    for name in ("a.png", "b.png", "more/c.png"):
        save(root / name)
    source = FolderSource(root)
    root.rename(tmp_path / "elsewhere")
    if emptied:
        root.mkdir()
    monkeypatch.setattr(files.ending, "wait", lambda seconds: None)
    for index in range(3):
        with pytest.raises(UserError, match=r"disk/.*png\. Received: .*/disk.* for 63 s"):
            source.read(index, index)
    assert source.num_skipped == 0

    def back(seconds: float) -> None:
        shutil.rmtree(root, ignore_errors=True)
        (tmp_path / "elsewhere").rename(root)

    monkeypatch.setattr(files.ending, "wait", back)
    assert source.read(0, 0)[0] == 0


def test_a_file_that_was_deleted_is_passed_over(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(files.ending, "wait", lambda seconds: pytest.fail("it does not come back"))
    for name in ("one/a.png", "two/b.png"):
        save(tmp_path / name)
    source = FolderSource(tmp_path)
    (tmp_path / "one" / "a.png").unlink()
    assert source.read(0, 0)[0] == 1
    assert source.num_skipped == 1


def test_a_folder_that_is_not_there_or_empty_is_an_error(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(UserError, match=r"Received: .*/gone \(nothing at that path\)"):
        FolderSource(tmp_path / "gone")
    with pytest.raises(UserError, match=r"notes.txt \(a file\)"):
        FolderSource(tmp_path / "notes.txt")
    with pytest.raises(ValueError, match=r"\.bmp \.gif .* none, and 1 \.txt\. Is it the right"):
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


def test_of_two_links_to_one_folder_the_first_by_name_is_listed(tmp_path: Path):
    save(tmp_path / "elsewhere" / "a.png")
    for made, names in {"one": "xy", "two": "yx"}.items():
        (tmp_path / made).mkdir()
        for name in names:
            (tmp_path / made / name).symlink_to(tmp_path / "elsewhere")
        assert FolderSource(tmp_path / made).files == ["x/a.png"]
