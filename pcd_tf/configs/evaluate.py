"""The settings of `evaluate`: what a frozen network is worth, by a probe."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from pcd_tf import data
from pcd_tf.configs._bounds import BATCH, SEED, SIDE
from pcd_tf.configs._finetuning import FinetuningConfig
from pcd_tf.configs._images import ImagesConfig
from pcd_tf.configs._outputs import problem_of_output
from pcd_tf.settings import Conflict, setting, with_default


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(ImagesConfig):
    """Settings of a probe.

    Example:
        Config(probe="knn", init="runs/student", dataset="folder", data_dir="flowers").validate()
    """

    probe: str = setting(
        "knn",
        help="How the network is judged; nothing of it is trained. knn: the class of the most "
        "similar training images; linear: a linear classifier on the mean pixel, by L-BFGS, or by "
        "SGD where they are too many; linear_dense: one at every pixel, mIoU; pixel_retrieval: a "
        "pixel finds the same place in another view, without labels.",
        group="model",
        source="[ours]",
        choices_in="pcd_tf.probes",
    )
    init: str = setting(
        "",
        help="The network: the workdir of a finished distill run, random, a KerasHub preset "
        "(directory or name), or a teacher's directory, whose backbone is taken.",
        group="model",
        source="[ours]",
        unit="name or path",
    )
    student: str = with_default(FinetuningConfig, "student", "resnet18", source="[paper]")
    dataset: str = setting(
        "folder",
        help="Labelled images. folder: DIR/SPLIT/CLASS/NAME.jpg; tfds: TensorFlow Datasets; "
        "synthetic: made on the fly, without labels of images; for linear_dense png_maps "
        "(DIR/SPLIT/NAME.jpg, class ids in DIR/SPLIT_sem/NAME.png), voc or synthetic.",
        group="data",
        source="[ours]",
        choices=tuple(sorted({*data.names(), *data.names("segmented")})),
    )
    train_split: str = with_default(
        FinetuningConfig,
        "train_split",
        "train",
        source="[ours]",
        help="The split that the probe learns from; pixel_retrieval needs none.",
    )
    eval_split: str = with_default(FinetuningConfig, "eval_split", "val", source="[ours]")
    image_size: int | None = setting(
        None,
        help="Height and width of the images. For knn and linear the centre is cut out, the short "
        "side resized to 256/224 of this, as published; for linear_dense they are padded to a "
        "square.",
        group="data",
        source="[ours]",
        unit="pixels",
        minimum=32,
        **SIDE,
        when_none="what a student was distilled at; 224 for others",
    )
    batch_size: int = setting(
        64,
        help="Images computed at once.",
        group="run",
        source="[ours]",
        unit="images",
        **BATCH,
    )
    seed: int = setting(
        0,
        help="Of --init=random, and of the synthetic images.",
        group="run",
        source="[ours]",
        **SEED,
    )
    out: str | None = setting(
        None,
        help="JSON file to write the scores and settings to; a new one.",
        group="run",
        source="[ours]",
        unit="path",
        when_none="printed only",
    )
    data_dir: str | None = with_default(
        ImagesConfig,
        "data_dir",
        None,
        source="[ours]",
        help="DIR of --dataset; with tfds, where TensorFlow Datasets keeps its files.",
    )

    def conflicts(self) -> Iterator[Conflict]:
        yield from super().conflicts()
        if self.dataset not in data.names():
            if self.data_dir is None:
                yield ("data_dir", "dataset"), f"dataset={self.dataset} needs it."
            elif not Path(self.data_dir).is_dir():
                text = f"expected an existing directory. Received: {self.data_dir!r}."
                yield ("data_dir",), text
        if self.out is not None and Path(self.out).exists():
            yield ("out",), f"expected a new file. Received: {self.out}, which exists."
        if self.out is not None and not Path(self.out).parent.is_dir():
            text = f"expected a file in an existing directory. Received: {self.out}."
            yield ("out",), text
        elif self.out is not None and (problem := problem_of_output(Path(self.out).parent)):
            yield ("out",), problem
