"""The settings of `finetune`: one detector or segmenter, from one init."""

import dataclasses
from collections.abc import Iterator

from pcd_tf.configs._finetuning import FinetuningConfig
from pcd_tf.settings import Conflict, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(FinetuningConfig):
    """Settings of a fine-tuning run.

    Example:
        Config(workdir="runs/cells", init="runs/student", dataset="voc", data_dir="bccd").validate()
    """

    init: str = setting(
        "",
        help="What the backbone starts from: the workdir of a finished distill run, random, a "
        "KerasHub preset (directory or name), or a teacher's directory.",
        group="model",
        source="[ours]",
        unit="name or path",
    )
    export: bool = setting(
        True,
        help="Whether WORKDIR/saved_model is written at the end: for TensorFlow Serving, decoding "
        "and non-maximum suppression inside. There is none for mask_rcnn.",
        group="run",
        source="[ours]",
    )

    def conflicts(self) -> Iterator[Conflict]:
        yield from super().conflicts()
        yield from self.init_conflicts(self.init)
