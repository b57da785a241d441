"""Records hold what their source holds, survive interruptions, and are read without Python."""

import concurrent.futures
import hashlib
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets
from PIL import Image

from pcd_tf import data
from pcd_tf.configs.prepare import Config
from pcd_tf.data import _shards, synthetic
from pcd_tf.errors import UserError
from pcd_tf.jobs import prepare
from pcd_tf.training import pictures


@pytest.fixture
def in_this_process(monkeypatch):
    """Writes here: processes of their own take seconds to start."""

    def written(tasks, **_):
        for task in tasks:
            yield task, _shards._write(task)

    monkeypatch.setattr(data, "written", written)


@pytest.fixture
def photos(tmp_path) -> Path:
    """Nine images of two classes, one of them damaged."""
    folder = tmp_path / "photos"
    rng = np.random.default_rng(0)
    for i in range(8):
        file = folder / ("cat", "dog")[i % 2] / f"{i}.{('jpg', 'png')[i // 4]}"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (20 + i, 30, 3), np.uint8)).save(file)
    (folder / "cat" / "x.jpg").write_bytes(b"no picture")
    return folder


def run(tmp_path: Path, **settings) -> str:
    workdir = str(tmp_path / "records")
    prepare.run(Config(workdir=workdir, **{"shard_size": 3, **settings}))
    return workdir


def pixels(source: data.Source) -> dict[str, np.ndarray]:
    return {
        source.image_name(int(record["index"])): np.asarray(
            source.open(int(record["index"]), record.get("payload"))
        )
        for record in source.chosen(range(source.num_examples)).as_numpy_iterator()
        if source.open_or_skip(int(record["index"]), record.get("payload"))
    }


def labels(source: data.Source) -> dict[str, str]:
    return {
        source.image_name(int(record["index"])): source.class_names[record["label"]]
        for record in source.chosen(range(source.num_examples)).as_numpy_iterator()
    }


def test_records_of_a_folder_are_its_images_without_the_unreadable_one(
    photos, tmp_path, in_this_process, capsys
):
    workdir = run(tmp_path, data_dir=str(photos))
    assert "Left out, as they cannot be decoded: 1 (cat/x.jpg)" in capsys.readouterr().out
    prepared = msgspec.json.decode((Path(workdir) / data.PREPARED).read_bytes())
    assert "it is no AVIF, " in prepared["left_out"]["train"]["cat/x.jpg"]
    folder, records = (
        data.build("folder", data_dir=str(photos)),
        data.build("tfrecord", data_dir=workdir),
    )
    expected, found = pixels(folder), pixels(records)
    assert expected.keys() == found.keys()
    assert len(found) == records.num_examples == 8
    for name, image in expected.items():
        np.testing.assert_array_equal(found[name], image)
    assert records.class_names == ("cat", "dog")
    assert labels(records).items() <= labels(folder).items()
    stored = {record["payload"] for record in records.chosen(range(8)).as_numpy_iterator()}
    assert stored == {(photos / name).read_bytes() for name in found}  # as they were


def test_tfds_reads_the_records_by_itself(photos, tmp_path, in_this_process):
    workdir = run(tmp_path, data_dir=str(photos))
    builder = tensorflow_datasets.builder_from_directory(workdir)
    assert builder.info.splits["train"].num_examples == 8
    examples = list(builder.as_dataset(split="train").as_numpy_iterator())
    assert {example["image"].shape[1:] for example in examples} == {(30, 3)}
    names = builder.info.features["label"].names
    for example in examples:
        assert example["image/filename"].decode().startswith(names[example["label"]])


def test_a_file_that_is_there_is_not_written_again(photos, tmp_path, in_this_process, capsys):
    whole = Path(run(tmp_path / "whole", data_dir=str(photos)))
    digests = {file.name: digest(file) for file in whole.glob("*tfrecord*")}
    assert len(digests) == 6  # records and the list of each

    interrupted = tmp_path / "interrupted"
    write, written = _shards._write, data.written

    def stops_at_the_second(task):
        if task.first == 3:
            raise KeyboardInterrupt
        return write(task)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_shards, "_write", stops_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            run(interrupted, data_dir=str(photos))
    first = next((interrupted / "records").glob("*00000-of-00003"))
    assert digest(first) == digests[first.name]
    with pytest.raises(UserError, match=r"prepare` finished. Received: .*without a prepared.json"):
        data.build("tfrecord", data_dir=str(interrupted / "records"))
    with pytest.raises(UserError, match="max_side: 4096 there, 64 now"):
        run(interrupted, data_dir=str(photos), max_side=64)
    (photos / "dog" / "new.jpg").write_bytes(b"")
    with pytest.raises(UserError, match="images: "):
        run(interrupted, data_dir=str(photos))
    (photos / "dog" / "new.jpg").unlink()

    firsts: list[int] = []

    def counted(tasks, **settings):
        firsts.extend(task.first for task in tasks)
        return written(tasks, **settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "written", counted)
        resumed = Path(run(interrupted, data_dir=str(photos), num_workers=1))
    assert firsts == [3, 6]
    assert "Resumes: 1 of 3 files are done." in capsys.readouterr().out
    assert {file.name: digest(file) for file in resumed.glob("*tfrecord*")} == digests
    with pytest.raises(UserError, match="is finished; it is left as it is"):
        run(interrupted, data_dir=str(photos))


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize("fault", ["cut off", "missing"])
def test_a_file_that_is_cut_off_or_missing_is_named_at_the_start(
    photos, tmp_path, in_this_process, fault
):
    workdir = run(tmp_path, data_dir=str(photos))
    file = next(Path(workdir).glob("*00001-of-00003"))
    content = file.read_bytes()
    if fault == "missing":
        file.unlink()
    else:
        file.write_bytes(content[:-9])
    with pytest.raises(UserError, match=rf"Expected {file} .*Received: one that is missing or cut"):
        data.build("tfrecord", data_dir=workdir)


def odd_files(folder: Path) -> None:
    """What TensorFlow does not decode, or not as it is meant."""
    rows, columns = np.indices((24, 40), np.uint8)
    image = Image.fromarray(np.stack([6 * columns, 8 * rows, 3 * (rows + columns)], axis=-1))
    folder.mkdir()
    image.convert("CMYK").save(folder / "cmyk.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(folder / "turned.jpg", exif=exif)
    image.quantize(16).save(folder / "palette.png", transparency=3)
    image.convert("L").convert("I;16").save(folder / "deep.png")
    for suffix in ("webp", "tiff", "gif", "bmp"):
        image.save(folder / f"x.{suffix}")


def test_odd_files_become_upright_rgb_that_tensorflow_decodes(tmp_path, in_this_process):
    odd_files(tmp_path / "odd")
    workdir = run(tmp_path, data_dir=str(tmp_path / "odd"))
    folder = data.build("folder", data_dir=str(tmp_path / "odd"))
    records = data.build("tfrecord", data_dir=workdir)
    expected = pixels(folder)
    assert records.num_examples == len(expected) == 8
    for record in records.chosen(range(8)).as_numpy_iterator():
        name = records.image_name(record["index"])
        decoded = tf.io.decode_image(record["payload"]).numpy()
        if Path(name).suffix in (".jpg", ".webp"):  # lossy, as they were
            assert record["payload"][:3] == b"\xff\xd8\xff"
            assert abs(decoded.astype(int) - expected[name]).mean() < 4
            assert decoded.shape == expected[name].shape
        else:
            np.testing.assert_array_equal(decoded, expected[name], err_msg=name)


@pytest.mark.parametrize("max_side", [4096, 80])
def test_boxes_masks_and_maps_are_those_of_the_source_scaled_as_the_image(
    tmp_path, in_this_process, monkeypatch, max_side
):
    monkeypatch.setitem(synthetic.NUM_LABELLED, "val", 4)
    scale = min(1, max_side / 160)
    settings = {"dataset": "synthetic", "splits": "val", "max_side": max_side, "seed": 3}
    boxes = run(tmp_path / "boxes", contents="annotated", **settings)
    maps = run(tmp_path / "maps", contents="segmented", **settings)
    drawn = data.build_annotated("synthetic", split="val", seed=3)
    stored = data.build_annotated("tfrecord", data_dir=boxes, split="val")
    assert stored.class_names == drawn.class_names
    assert stored.category_ids == drawn.category_ids
    assert stored.has_masks
    side = min(160, max_side)
    for index in range(4):
        ours, theirs = stored.objects(index), drawn.objects(index)
        assert (ours.height, ours.width, ours.image_id) == (side, side, theirs.image_id)
        np.testing.assert_allclose(ours.boxes, theirs.boxes * scale)
        np.testing.assert_array_equal(ours.labels, theirs.labels)
        np.testing.assert_allclose(stored.areas(index), drawn.areas(index) * scale**2, rtol=0.2)
        if scale == 1:
            assert stored.masks(index) == drawn.masks(index)
    drawn_maps = data.build_segmented("synthetic", split="val", seed=3)
    stored_maps = data.build_segmented("tfrecord", data_dir=maps, split="val")
    assert stored_maps.class_names == drawn_maps.class_names
    for index in range(4):
        expected = drawn_maps.semantic_map(index)
        if scale < 1:
            expected = expected[1::2, 1::2]
        np.testing.assert_array_equal(stored_maps.semantic_map(index), expected)
    if scale == 1:
        for name, image in pixels(drawn.images).items():
            np.testing.assert_array_equal(pixels(stored.images)[name], image)
            np.testing.assert_array_equal(pixels(stored_maps.images)[name], image)
        np.testing.assert_array_equal(stored_maps.image(2), drawn_maps.image(2))


def test_crowds_areas_ids_and_names_of_coco_are_kept(tmp_path, in_this_process):
    root = tmp_path / "coco"
    (root / "val").mkdir(parents=True)
    for number in (7, 3):
        Image.new("RGB", (200, 100)).save(root / "val" / f"{number}.jpg")
    annotation = {"image_id": 7, "category_id": 9, "bbox": [10.5, 20, 30.25, 40], "area": 123.5}
    polygon = {"segmentation": [[10, 20, 40, 20, 40, 60, 10, 60]], "iscrowd": 0}
    crowd = {"segmentation": {"size": [100, 200], "counts": [0, 5000, 15000]}, "iscrowd": 1}
    content = {
        "images": [
            {"id": number, "file_name": f"{number}.jpg", "height": 100, "width": 200}
            for number in (7, 3)
        ],
        "annotations": [{**annotation, **polygon, "id": 1}, {**annotation, **crowd, "id": 2}],
        "categories": [{"id": 9, "name": "cat"}, {"id": 4, "name": "dog"}],
    }
    (root / "instances_val.json").write_bytes(msgspec.json.encode(content))
    workdir = run(tmp_path, dataset="coco_json", data_dir=str(root), splits="val")
    source = data.build_annotated("coco_json", data_dir=str(root), split="val")
    stored = data.build_annotated("tfrecord", data_dir=workdir, split="val")
    assert stored.coco() == source.coco()
    nothing = stored.objects(1)  # of NumPy's own types, as concatenated with those of others
    assert (nothing.boxes.shape, nothing.labels.dtype, nothing.crowd.dtype) == ((0, 4), int, bool)


def ops_of(dataset: tf.data.Dataset) -> set[str]:
    graph = tf.compat.v1.GraphDef.FromString(dataset._as_serialized_graph().numpy())
    functions = [node for function in graph.library.function for node in function.node_def]
    return {node.op for node in (*graph.node, *functions)}


@pytest.mark.parametrize("contents", ["images", "annotated", "segmented"])
def test_the_stream_of_records_has_no_python_in_it(
    photos, tmp_path, in_this_process, monkeypatch, contents
):
    monkeypatch.setitem(synthetic.NUM_LABELLED, "train", 4)
    given = {"dataset": "synthetic"}
    if contents == "images":
        given = {"dataset": "folder", "data_dir": str(photos)}
    workdir = run(tmp_path, contents=contents, **given)
    records = {"dataset": "tfrecord", "data_dir": workdir}
    of: dict[str, Any] = {"image_size": 32, "global_batch_size": 2, "seed": 0}

    def stream(given, start_step=0):
        name, *directory = given.values()
        at: dict[str, Any] = {"split": "train", "data_dir": directory[0] if directory else None}
        if contents == "images":
            images = data.build(name, **at)
            return data.two_views(images, data.BYOL, start_step=start_step, **of)
        if contents == "segmented":
            maps = data.build_segmented(name, **at)
            return data.segmented_batches(maps, start_step=start_step, **of)
        boxes = data.build_annotated(name, **at)
        return data.annotated_batches(boxes, data.Augmentation(), start_step=start_step, **of)

    assert "PyFunc" in ops_of(stream(given))
    assert "PyFunc" not in ops_of(stream(records))
    *_, third = stream(records).take(3).as_numpy_iterator()
    resumed = next(stream(records, start_step=2).as_numpy_iterator())
    for key, value in third.items():
        np.testing.assert_array_equal(resumed[key], value, err_msg=key)


def test_tf_data_service_can_run_the_stream(photos, tmp_path, in_this_process):
    workdir = run(tmp_path, data_dir=str(photos))
    source = data.build("tfrecord", data_dir=workdir)
    stream = data.two_views(source, data.BYOL, image_size=16, global_batch_size=4, seed=0)
    service = tf.data.experimental.service
    dispatcher = service.DispatchServer()
    address = dispatcher.target.split("://")[1]
    worker = service.WorkerServer(service.WorkerConfig(dispatcher_address=address))
    served = stream.apply(service.distribute("parallel_epochs", dispatcher.target))
    expected, found = next(iter(stream)), next(iter(served))
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value)
    del served, worker


def test_a_resumed_stream_goes_on_where_it_was(photos, tmp_path, in_this_process):
    workdir = run(tmp_path, data_dir=str(photos))

    def batches(start_step, count):
        source = data.build("tfrecord", data_dir=workdir)
        stream = data.two_views(
            source, data.BYOL, image_size=8, global_batch_size=3, seed=1, start_step=start_step
        )
        return list(stream.take(count).as_numpy_iterator())

    whole = batches(0, 6)  # 18 images: two epochs of 8 and a part of the third
    for start_step in (1, 2, 5):
        (resumed,) = batches(start_step, 1)
        for key, value in whole[start_step].items():
            np.testing.assert_array_equal(resumed[key], value, err_msg=key)
    epoch = np.concatenate([batch["index"] for batch in whole])[:8]
    assert sorted(epoch) == list(range(8))


@pytest.mark.parametrize("contents", ["images", "annotated", "segmented"])
def test_a_picture_shows_what_was_stored(photos, tmp_path, in_this_process, monkeypatch, contents):
    monkeypatch.setitem(synthetic.NUM_LABELLED, "train", 4)
    given = {"data_dir": str(photos)} if contents == "images" else {"dataset": "synthetic"}
    drawn: list[Any] = []
    draw = pictures.draw_batches

    def draws(batches, path, **settings):
        drawn.extend(batches)
        draw(batches, path, **settings)

    monkeypatch.setattr(pictures, "draw_batches", draws)
    show = tmp_path / "shown.png"
    run(tmp_path, contents=contents, show=str(show), **given)
    with Image.open(show) as image:
        assert image.width > 200
    if contents == "annotated":
        (batch,) = drawn
        first = batch["masks"][0][batch["labels"][0] >= 0]
        for mask, (x1, y1, x2, y2) in zip(first, batch["boxes"][0], strict=False):
            rows, columns = np.nonzero(mask)
            found = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
            np.testing.assert_allclose(found, (x1, y1, x2, y2), atol=2)


def test_what_is_written_already_needs_no_space(photos, tmp_path, in_this_process, monkeypatch):
    needed = sum(file.stat().st_size for file in photos.rglob("*.*")) * 0.5
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=needed))
    with pytest.raises(UserError, match="of free space in .* Received: "):
        run(tmp_path, data_dir=str(photos))

    write = _shards._write

    def stops_at_the_last(task):
        if task.first == 6:
            raise KeyboardInterrupt
        return write(task)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1e9))
        patch.setattr(_shards, "_write", stops_at_the_last)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, data_dir=str(photos))
    run(tmp_path, data_dir=str(photos))


def test_nothing_that_can_be_decoded_is_an_error(tmp_path, in_this_process):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "1.jpg").write_bytes(b"no picture")
    with pytest.raises(data.DecodeError, match="Expected an image that can be decoded among the 1"):
        run(tmp_path, data_dir=str(tmp_path / "x"))


def test_processes_write_what_one_writes(photos, tmp_path, in_this_process, monkeypatch):
    here = Path(run(tmp_path / "here", data_dir=str(photos)))
    monkeypatch.undo()
    there = Path(run(tmp_path / "there", data_dir=str(photos), num_workers=2))
    names = sorted(file.name for file in here.iterdir())
    assert names == sorted(file.name for file in there.iterdir())
    for file in here.glob("*tfrecord*"):
        assert digest(file) == digest(there / file.name)


def test_an_interruption_of_the_terminal_reaches_no_process_that_starts(monkeypatch):
    blocked: list[set[int]] = []

    class Processes(concurrent.futures.ThreadPoolExecutor):
        def submit(self, *given, **settings):
            blocked.append(set(signal.pthread_sigmask(signal.SIG_BLOCK, [])))
            return super().submit(*given, **settings)

    monkeypatch.setattr(_shards, "_write", lambda task: task)
    monkeypatch.setattr(
        concurrent.futures, "ProcessPoolExecutor", lambda number, *_, **__: Processes(number)
    )
    tasks: Any = ["one", "two"]
    assert sorted(data.written(tasks, num_workers=1, max_pixels=9)) == [
        ("one", "one"),
        ("two", "two"),
    ]
    assert all(signal.SIGINT in of for of in blocked)
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_several_splits_lie_in_one_directory(tmp_path, in_this_process, capsys):
    root = tmp_path / "maps"
    rng = np.random.default_rng(0)
    for split, number in (("train", 4), ("val", 2)):
        for folder in (split, f"{split}_sem"):
            (root / folder).mkdir(parents=True)
        for i in range(number):
            ids = rng.choice([0, 1, 255], (20, 30)).astype(np.uint8)
            Image.fromarray(ids).convert("P").save(root / f"{split}_sem" / f"{i}.png")
            Image.new("RGB", (30, 20), (9 * i, 0, 0)).save(root / split / f"{i}.png")
    workdir = run(tmp_path, dataset="png_maps", data_dir=str(root), splits="train,val")
    told = capsys.readouterr().out
    assert "--model=fcn --train_split=train --eval_split=val" in told  # what can learn from maps
    stored = data.build_segmented_two("tfrecord", ("train", "val"), data_dir=workdir)
    expected = data.build_segmented_two("png_maps", ("train", "val"), data_dir=str(root))
    for ours, theirs in zip(stored, expected, strict=True):
        assert (ours.num_examples, ours.class_names) == (theirs.num_examples, theirs.class_names)
        for index in range(ours.num_examples):
            np.testing.assert_array_equal(ours.semantic_map(index), theirs.semantic_map(index))
            np.testing.assert_array_equal(ours.image(index), theirs.image(index))
    with pytest.raises(UserError, match="Expected a split of .*: train, val. Received: 'test'"):
        data.build("tfrecord", data_dir=workdir, split="test")
    with pytest.raises(UserError, match="Expected annotated images in .*Received: segmented"):
        data.build_annotated("tfrecord", data_dir=workdir, split="val")
