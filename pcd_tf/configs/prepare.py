"""The settings of `prepare`: any images in, TFRecord files out."""

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

from pcd_tf import data
from pcd_tf.configs._bounds import SEED
from pcd_tf.configs._images import ImagesConfig
from pcd_tf.configs._outputs import problem_of_output
from pcd_tf.settings import Conflict, setting, with_default

# What a dataset holds where it is not said.
_CONTENTS = {"coco_json": "annotated", "voc": "annotated", "png_maps": "segmented"}
_SOURCES = tuple(
    sorted({name for what in data.CONTENTS for name in data.names(what)} - {"tfrecord"})
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(ImagesConfig):
    """Settings of a preparation.

    Example:
        Config(dataset="folder", data_dir="photos", workdir="records").validate()
    """

    dataset: str = with_default(
        ImagesConfig,
        "dataset",
        "folder",
        source="[ours]",
        help="Where the images come from. folder: files under --data_dir, in any tree; tfds: "
        "TensorFlow Datasets; coco_json, voc, png_maps: as finetune takes them; synthetic: made "
        "on the fly.",
        choices=_SOURCES,
    )
    contents: str | None = setting(
        None,
        help="What is kept of each image besides it. images: its class, where there are classes; "
        "annotated: boxes, and masks if every object has one; segmented: the class of each pixel.",
        group="data",
        source="[ours]",
        choices=data.CONTENTS,
        when_none="annotated with coco_json and voc, segmented with png_maps, else images",
    )
    splits: str | None = setting(
        None,
        help="Which splits, with commas: train,val. With folder they are folders in --data_dir.",
        group="data",
        source="[ours]",
        when_none="train; with folder all of --data_dir, as the split train",
    )
    annotations: str | None = setting(
        None,
        help="The JSON files of the splits with coco_json, as many and in the same order.",
        group="data",
        source="[ours]",
        unit="list of paths",
        when_none="DIR/instances_SPLIT.json or DIR/annotations/instances_SPLIT.json",
    )
    max_side: int = setting(
        data.LARGEST_SIDE,
        help="Longest side of what is kept: larger images are shrunk, with their boxes, masks and "
        "maps. Others stay byte for byte where they are common JPEG or PNG files; what is written "
        "anew is a JPEG of quality 95 if it came from a JPEG, WebP or AVIF, and a PNG if not.",
        group="data",
        source="[ours]",
        unit="pixels",
        minimum=32,
        maximum=data.LARGEST_SIDE,
        maximum_reason="Larger ones are not decoded side by side.",
    )
    shard_size: int | None = setting(
        None,
        help="Images in a file.",
        group="data",
        source="[ours]",
        unit="images",
        minimum=1,
        maximum=10**6,
        maximum_reason="What is done in part of a file is done again after an interruption.",
        when_none="1024, or fewer if they would be less than 16 files, which are read in turn",
    )
    num_workers: int | None = setting(
        None,
        help="Processes that write files side by side. Each has its own list of the images.",
        group="run",
        source="[ours]",
        minimum=1,
        maximum=256,
        maximum_reason="Each takes half a gigabyte.",
        when_none="one for each core",
    )
    seed: int = setting(
        0,
        help="Of the synthetic images.",
        group="run",
        source="[ours]",
        **SEED,
    )
    workdir: str = setting(
        "",
        help="Where the records are written, to be read with --dataset=tfrecord --data_dir. What "
        "is unfinished there is gone on with, what is finished is left alone.",
        group="run",
        source="[ours]",
        unit="directory",
    )
    show: str | None = setting(
        None,
        help="PNG file for a picture of some of the images, as they were stored.",
        group="run",
        source="[ours]",
        unit="path",
        when_none="none",
    )

    @property
    def kept(self) -> str:
        """What the records hold, given or by the dataset."""
        return self.contents or _CONTENTS.get(self.dataset, "images")

    def conflicts(self) -> Iterator[Conflict]:
        yield from super().conflicts()
        if self.dataset not in data.names(self.kept):
            fitting = ", ".join(name for name in data.names(self.kept) if name != "tfrecord")
            yield (
                ("contents", "dataset"),
                f"{self.kept} come from {fitting}. Received: {self.dataset}.",
            )
        splits = self.splits.split(",") if self.splits else ["train"]
        # As TFDS reads the name of a file.
        if not all(re.fullmatch(r"\w+", name, re.ASCII) for name in splits):
            yield (
                ("splits",),
                f"expected names of letters, digits and _, with commas. Received: {self.splits!r}.",
            )
        elif len(set(splits)) < len(splits):
            yield ("splits",), f"expected each name once. Received: {self.splits!r}."
        if self.annotations is not None and self.dataset != "coco_json":
            yield ("annotations", "dataset"), f"dataset={self.dataset} has no use for it."
        elif self.annotations is not None and len(self.annotations.split(",")) != len(splits):
            yield (
                ("annotations", "splits"),
                f"expected {len(splits)}, one for each split. Received: {self.annotations!r}.",
            )
        if problem := problem_of_output(self.workdir):
            yield ("workdir",), problem
        if self.show is not None and Path(self.show).suffix != ".png":
            yield ("show",), f"expected a name that ends in .png. Received: {self.show}."
        elif self.show is not None and (problem := problem_of_output(Path(self.show).parent)):
            yield ("show",), problem
