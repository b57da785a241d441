"""Checks images and packs them into TFRecord files, in several processes."""

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
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
    origins, sources = _opened(config)
    first = next(iter(sources.values()))
    directory.create(images={split: data.identity(of) for split, of in sources.items()})
    tasks = {
        split: _tasks(config, origins[split], split, source.num_examples)
        for split, source in sources.items()
    }
    _introduce(config, sources, tasks)

    shards = _write(config, [task for of_split in tasks.values() for task in of_split])
    listed = {split: [shards[task] for task in of_split] for split, of_split in tasks.items()}
    _refuse_empty(sources, listed)
    prepared = data.Prepared(
        contents=config.kept,
        class_names=list(first.class_names),
        category_ids=list(getattr(first, "category_ids", ())),
        splits=list(sources),
    )
    data.finish_records(directory.path, prepared, listed)
    for task in shards:
        task.note.unlink(missing_ok=True)
    left_out = {
        split: [name for shard in of_split for name in shard.left_out]
        for split, of_split in listed.items()
    }
    directory.finish(
        contents=prepared.contents,
        class_names=prepared.class_names,
        category_ids=prepared.category_ids,
        splits=prepared.splits,
        left_out=left_out,
    )
    _conclude(config, listed, left_out)


def _opened(config: Config) -> tuple[dict[str, data.Origin], dict[str, _Source]]:
    """Opens all splits, and checks what can be told of them without decoding an image."""
    splits = config.splits.split(",") if config.splits else ["train"]
    files = config.annotations.split(",") if config.annotations else [None] * len(splits)
    origins: dict[str, data.Origin] = {}
    sources: dict[str, _Source] = {}
    for split, file in zip(splits, files, strict=True):
        directory = config.data_dir
        if config.dataset == "folder" and config.splits and directory is not None:
            directory = ",".join(str(root / split) for root in data.directories(directory))
        earlier = next(iter(sources.values()), None)
        origins[split] = data.Origin(
            config.kept,
            config.dataset,
            split,
            data_dir=directory,
            tfds_name=config.tfds_name,
            annotations=file and file.strip(),
            class_names=earlier.class_names if earlier else (),
            seed=config.seed,
        )
        source = sources[split] = origins[split].open()
        if earlier:
            outside.check_same_classes(earlier, source)
        if isinstance(source, data.Segmented):
            source.check(to_learn=earlier is None)
        elif isinstance(source, data.Annotated):
            source.check()
    return origins, sources


def _tasks(
    config: Config, origin: data.Origin, split: str, num_examples: int
) -> list[data.ShardTask]:
    """Cuts the images of a split into files, independent of the number of processes."""
    size = config.shard_size or min(SHARD_SIZE, -(-num_examples // NUM_READ_IN_TURN))
    starts = range(0, num_examples, size)
    return [
        data.ShardTask(
            origin,
            Path(config.workdir).absolute(),
            split,
            number,
            len(starts),
            start,
            min(start + size, num_examples),
            config.max_side,
        )
        for number, start in enumerate(starts)
    ]


def _introduce(
    config: Config, sources: dict[str, _Source], tasks: dict[str, list[data.ShardTask]]
) -> None:
    print(f"Packs images into {config.workdir}.", flush=True)
    for split, source in sources.items():
        images = source if isinstance(source, data.Source) else source.images
        print(
            f"  {split:9} {source.num_examples} images of {source.name} in {len(tasks[split])} "
            f"files{data.noted(images)}"
        )
    num_bytes = sum(map(_num_bytes, sources.values()))
    free = shutil.disk_usage(config.workdir).free
    if num_bytes:
        print(f"  size      {num_bytes / 1e9:.1f} GB at most, about; {free / 1e9:.1f} GB are free")
    if num_bytes > free and config.max_side == data.LARGEST_SIDE:
        raise UserError(
            f"workdir: expected some {num_bytes / 1e9:.1f} GB of free space in {config.workdir}. "
            f"Received: {free / 1e9:.1f} GB. Free some, name another disk, or give --max_side."
        )


def _num_bytes(source: _Source) -> float:
    """Estimates the size of the images by some of their files; 0 where they are no files."""
    images = source if isinstance(source, data.Source) else source.images
    if not isinstance(images, data.FileSource):
        return 0.0
    chosen = np.unique(np.linspace(0, images.num_examples - 1, _NUM_LOOKED_AT).astype(int))
    paths = [images.path(int(index)) for index in chosen]
    sizes = [path.stat().st_size for path in paths if path.is_file()]
    return float(np.mean(sizes)) * images.num_examples if sizes else 0.0


def _write(config: Config, tasks: Sequence[data.ShardTask]) -> dict[data.ShardTask, Any]:
    """Writes the files that are not there yet; shows how far it is."""
    shards = {task: task.done() for task in tasks}
    missing = [task for task, shard in shards.items() if shard is None]
    num_done = sum(task.stop - task.first for task, shard in shards.items() if shard)
    if num_done:
        print(f"Resumes: {len(tasks) - len(missing)} of {len(tasks)} files are done.", flush=True)
    num_workers = min(config.num_workers or os.cpu_count() or 1, max(1, len(missing)))
    interval = 1.0 if sys.stderr.isatty() else 30.0  # seconds; a file wants fewer lines
    total = sum(task.stop - task.first for task in tasks)
    with tqdm(total=total, initial=num_done, unit="image", mininterval=interval) as bar:
        for task, shard in data.written(
            missing, num_workers=num_workers, max_pixels=config.max_pixels
        ):
            shards[task] = shard
            bar.update(task.stop - task.first)
    return shards


def _refuse_empty(sources: dict[str, _Source], listed: dict[str, list[Any]]) -> None:
    for split, shards in listed.items():
        if not any(shard.images for shard in shards):
            number, name = sources[split].num_examples, sources[split].name
            raise data.DecodeError(
                f"Expected an image that can be decoded among the {number} of {name}. Received: "
                "none."
            )


def _conclude(config: Config, listed: dict[str, list[Any]], left_out: dict[str, list[str]]) -> None:
    for split, shards in listed.items():
        number = sum(len(shard.images) for shard in shards)
        num_bytes = sum(shard.num_bytes for shard in shards)
        print(f"Done: {number} images of {split}, {num_bytes / 1e6:.1f} MB, in {config.workdir}.")
        if names := left_out[split]:
            print(f"{len(names)} unreadable images left out: {outside.named(names)}")
    if config.show is not None:
        _draw(config, next(iter(listed)), config.show)
        print(f"  picture   {config.show}")
    given = {"dataset": "tfrecord", "data_dir": config.workdir}
    if config.kept == "images":
        print(f"Read them, for example: {command('distill', **given, workdir='runs/distill')}")
    else:
        print(f"Read them, for example: {command('finetune', **given, workdir='runs/finetune')}")


def _draw(config: Config, split: str, show: str) -> None:
    """Draws some images of the records, and what is known of them, as a network sees them."""
    given: dict[str, Any] = {"data_dir": config.workdir, "split": split}
    if config.kept == "segmented":
        maps = data.build_segmented("tfrecord", **given)
        batches = data.segmented_in_order(maps, image_size=_SIZE_SHOWN, batch_size=_NUM_SHOWN)
        class_names = maps.class_names
    elif config.kept == "annotated":
        boxes = data.build_annotated("tfrecord", **given)
        number = min(_NUM_SHOWN, boxes.num_examples)
        batches = data.annotated_batches(
            boxes, data.NO_AUGMENTATION, image_size=_SIZE_SHOWN, global_batch_size=number, seed=0
        )
        class_names = boxes.class_names
    else:
        images = data.build("tfrecord", **given)
        number = min(_NUM_SHOWN, images.num_examples)
        batches = data.two_views(
            images, data.BYOL, image_size=_SIZE_SHOWN, global_batch_size=number, seed=0
        )
        class_names = ()
    (batch,) = batches.take(1).as_numpy_iterator()
    pictures.draw_batches([batch], Path(show), class_names=class_names)
