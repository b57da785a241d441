"""Checks images and packs them into TFRecord files, in several processes."""

import functools
import os
import shutil
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from pycocotools import mask as coco_mask
from tqdm import tqdm

from pcd_tf import data, outside
from pcd_tf.configs.prepare import Config
from pcd_tf.errors import UserError
from pcd_tf.jobs._command import command
from pcd_tf.training import pictures
from pcd_tf.training.run_directory import RunDirectory

SHARD_SIZE = 1024  # images; of ImageNet's 0.1 GB, in as many files as its own publishers made
NUM_READ_IN_TURN = 16  # files, see `pcd_tf.data`: of fewer, an epoch is shuffled less
_NUM_LOOKED_AT = 256  # files whose size is looked at, of all
_NUM_SHOWN = 8  # images, at
_SIZE_SHOWN = 224  # pixels

_Source = data.Source | data.Annotated | data.Segmented
_Tasks = dict[str, list[data.ShardTask]]  # by split
_Shards = dict[str, list[data.Shard]]


def run(config: Config) -> None:
    """Writes the records of all splits; the same call goes on where an earlier one ended.

    Raises:
        UserError: when the settings, the images or an earlier call do not fit.
        DecodeError: when no image of a split can be decoded.
        KeyboardInterrupt: when SIGINT or SIGTERM came; the files that are done are kept.

    Example:
        run(Config(data_dir="photos", workdir="records"))
        source = data.build("tfrecord", data_dir="records")
    """
    config.validate()
    directory = RunDirectory(config.workdir, "prepare", config, result=data.PREPARED)
    data.set_max_pixels(config.max_pixels)
    openers, sources = _opened(config)
    first = next(iter(sources.values()))
    directory.create(images={split: data.identity(of) for split, of in sources.items()})
    tasks = {
        split: _tasks(config, openers[split], split, source.num_examples)
        for split, source in sources.items()
    }
    done = {task: shard for of in tasks.values() for task in of if (shard := task.done())}
    _introduce(config, sources, tasks, done)

    written = _write(config, tasks, done)
    shards = {split: [written[task] for task in of_split] for split, of_split in tasks.items()}
    _refuse_empty(sources, shards)
    prepared = data.Prepared(
        contents=config.kept,
        class_names=first.class_names,
        category_ids=getattr(first, "category_ids", ()),
        splits={split: len(of_split) for split, of_split in shards.items()},
        left_out={
            split: {name: why for shard in of_split for name, why in shard.left_out.items()}
            for split, of_split in shards.items()
        },
    )
    data.describe_records(directory.path, prepared, shards)
    directory.finish(**msgspec.to_builtins(prepared))
    _conclude(config, prepared, shards)


def _opened(config: Config) -> tuple[dict[str, data.Opener], dict[str, _Source]]:
    """Opens all splits, and checks what can be told of them without decoding an image."""
    splits = config.splits.split(",") if config.splits else ["train"]
    files = config.annotations.split(",") if config.annotations else [None] * len(splits)
    openers: dict[str, data.Opener] = {}
    sources: dict[str, _Source] = {}
    for split, file in zip(splits, files, strict=True):
        earlier = next(iter(sources.values()), None)
        class_names = earlier.class_names if earlier else ()
        openers[split] = _opener(config, split, file and file.strip(), class_names)
        source = sources[split] = openers[split]()
        if earlier:
            outside.check_same_classes(earlier, source)
        if isinstance(source, data.Segmented):
            source.check(to_learn=earlier is None)
        elif isinstance(source, data.Annotated):
            source.check()
    return openers, sources


def _opener(
    config: Config, split: str, annotations: str | None, class_names: Sequence[str]
) -> data.Opener:
    directory = config.data_dir
    if config.dataset == "folder" and config.splits and directory is not None:
        directory = ",".join(str(root / split) for root in data.directories(directory))
    given: dict[str, Any] = {"data_dir": directory, "split": split, "seed": config.seed}
    if config.kept == "images":
        build: data.Opener = functools.partial(data.build, tfds_name=config.tfds_name)
    elif config.kept == "segmented":
        build = functools.partial(data.build_segmented, class_names=class_names)
    else:
        build = functools.partial(
            data.build_annotated,
            annotations=annotations,
            class_names=class_names,
            tfds_name=config.tfds_name,
        )
    return functools.partial(build, config.dataset, **given)


def _tasks(
    config: Config, opener: data.Opener, split: str, num_examples: int
) -> list[data.ShardTask]:
    """Cuts the images of a split into files, independent of the number of processes."""
    size = config.shard_size or min(SHARD_SIZE, -(-num_examples // NUM_READ_IN_TURN))
    starts = range(0, num_examples, size)
    root = Path(config.workdir).absolute()
    return [
        data.ShardTask(
            config.kept,
            opener,
            split,
            data.shard_file(root, split, number, len(starts)),
            start,
            min(start + size, num_examples),
            config.max_side,
        )
        for number, start in enumerate(starts)
    ]


def _introduce(
    config: Config, sources: dict[str, _Source], tasks: _Tasks, done: Collection[data.ShardTask]
) -> None:
    print(f"Packs images into {config.workdir}.", flush=True)
    num_bytes = 0.0
    for split, source in sources.items():
        images = _images(source)
        print(
            f"  {split:9} {source.num_examples} images of {source.name} in {len(tasks[split])} "
            f"files{data.noted(images)}"
        )
        num_missing = sum(task.stop - task.first for task in tasks[split] if task not in done)
        num_bytes += num_missing * _bytes_an_image(images)
    free = shutil.disk_usage(config.workdir).free
    if num_bytes:
        most = "" if config.max_side == data.LARGEST_SIDE else "at most "
        print(f"  size      {most}some {_size(num_bytes)}; {_size(free)} are free", flush=True)
        if num_bytes > free and not most:
            raise UserError(
                f"workdir: expected some {_size(num_bytes)} of free space in {config.workdir}. "
                f"Received: {_size(free)}. Free some, name another disk, or give --max_side."
            )


def _images(source: _Source) -> data.Source:
    return source if isinstance(source, data.Source) else source.images


def _size(num_bytes: float) -> str:
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.1f} MB"


def _bytes_an_image(images: data.Source) -> float:
    """Estimates the mean size of the images by some of their files; 0 where they are no files."""
    if not isinstance(images, data.FileSource):
        return 0.0
    chosen = np.unique(np.linspace(0, images.num_examples - 1, _NUM_LOOKED_AT).astype(int))
    paths = [images.path(int(index)) for index in chosen]
    sizes = [path.stat().st_size for path in paths if path.is_file()]
    return float(np.mean(sizes)) if sizes else 0.0


def _write(
    config: Config, tasks: _Tasks, done: dict[data.ShardTask, data.Shard]
) -> dict[data.ShardTask, data.Shard]:
    """Writes the files that are not there yet; shows how far it is."""
    every = [task for of_split in tasks.values() for task in of_split]
    missing = [task for task in every if task not in done]
    if done:
        print(f"Resumes: {len(done)} of {len(every)} files are done.", flush=True)
    shards = dict(done)
    num_workers = min(config.num_workers or os.cpu_count() or 1, max(1, len(missing)))
    interval = 1.0 if sys.stderr.isatty() else 30.0  # seconds; a file wants fewer lines
    total, initial = (sum(task.stop - task.first for task in of) for of in (every, done))
    with tqdm(total=total, initial=initial, unit="image", mininterval=interval) as bar:
        for task, shard in data.written(
            missing, num_workers=num_workers, max_pixels=config.max_pixels
        ):
            shards[task] = shard
            bar.update(task.stop - task.first)
    return shards


def _refuse_empty(sources: dict[str, _Source], shards: _Shards) -> None:
    for split, source in sources.items():
        if not any(shard.images for shard in shards[split]):
            (name, why), *_ = (item for shard in shards[split] for item in shard.left_out.items())
            raise data.DecodeError(
                f"Expected an image that can be decoded among the {source.num_examples} of "
                f"{source.name}. Received: none. Of {name}: {why}"
            )


def _conclude(config: Config, prepared: data.Prepared, shards: _Shards) -> None:
    for split, of_split in shards.items():
        number = sum(len(shard.images) for shard in of_split)
        size = _size(sum(shard.num_bytes for shard in of_split))
        print(f"Done: {number} images of {split}, {size}, in {config.workdir}.")
        if names := [*prepared.left_out[split]]:
            print(
                f"Left out, as they cannot be decoded: {len(names)} ({outside.named(names)}); "
                f"{data.PREPARED} says why."
            )
    if config.show is not None:
        _draw(config, next(iter(shards)), Path(config.show))
        print(f"  picture   {config.show}")
    job = "distill" if config.kept == "images" else "finetune"
    given = {"dataset": "tfrecord", "data_dir": config.workdir, "workdir": f"runs/{job}"}
    if config.kept == "segmented":
        given["model"] = "fcn"
    if job == "finetune" and len(shards) > 1:
        given["train_split"], given["eval_split"], *_ = shards
    print(f"Read them, for example: {command(job, **given)}")


def _draw(config: Config, split: str, path: Path) -> None:
    """Draws some images of the records, and what is known of them, as a network sees them."""
    given: dict[str, Any] = {"data_dir": config.workdir, "split": split}
    shown = {"image_size": _SIZE_SHOWN, "batch_size": _NUM_SHOWN}
    if config.kept == "segmented":
        maps = data.build_segmented("tfrecord", **given)
        batches, class_names = data.segmented_in_order(maps, **shown), maps.class_names
    elif config.kept == "annotated":
        boxes = data.build_annotated("tfrecord", **given)
        batches, class_names = data.annotated_in_order(boxes, **shown), boxes.class_names
    else:
        images = data.build("tfrecord", **given)
        number, class_names = min(_NUM_SHOWN, images.num_examples), ()
        batches = data.two_views(
            images, data.BYOL, image_size=_SIZE_SHOWN, global_batch_size=number, seed=0
        )
    (batch,) = batches.take(1).as_numpy_iterator()
    if config.kept == "annotated":
        batch |= _objects(boxes, batch["index"].tolist())
    pictures.draw_batches([batch], path, class_names=class_names)


def _objects(source: data.Annotated, indices: Sequence[int]) -> dict[str, np.ndarray]:
    """Gives the objects of images in the letterbox, as `pictures.draw_batches` draws them."""
    most = max(len(source.objects(index).labels) for index in indices)
    boxes = np.zeros((len(indices), most, 4))
    labels = np.full((len(indices), most), -1)
    masks = np.zeros((len(indices), most, _SIZE_SHOWN, _SIZE_SHOWN), np.bool_)
    for place, index in enumerate(indices):
        objects, its_masks = source.objects(index), source.masks(index)
        count = len(objects.labels)
        boxes[place, :count] = objects.boxes * _SIZE_SHOWN / max(source.size(index))
        labels[place, :count] = objects.labels
        if its_masks:
            whole = 255 * coco_mask.decode(its_masks)[None]  # [1, H, W, n]
            shown = data.letterbox(whole, _SIZE_SHOWN).numpy()[0] >= 128  # [S, S, n]
            masks[place, :count] = np.moveaxis(shown, -1, 0)
    return {"boxes": boxes, "labels": labels} | ({"masks": masks} if source.has_masks else {})
