"""The settings of every job that trains a detector or a segmenter on labels."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from pcd_tf import data, detectors, segmenters, students
from pcd_tf.configs._bounds import EPOCHS, LEARNING_RATE
from pcd_tf.configs._images import ImagesConfig
from pcd_tf.configs._run import RunConfig
from pcd_tf.settings import Conflict, setting, with_default

MOST_WARMUP_STEPS = 1000  # Detectron2's WARMUP_ITERS

# Base rates per 16 images: Lin et al. 2017 (RetinaNet), section 4.1; Detectron2's Mask R-CNN; for
# segmenters [ours], the rate of Detectron2's DeepLab.
_RATES = {"mask_rcnn": 0.02}
_RATE = 0.01

_COARSEST_OF_MASK_RCNN = 64  # pixels

_NEEDS_DIRECTORY = ("coco_json", "voc", "png_maps", "tfrecord")


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinetuningConfig(RunConfig):
    """Model, data, recipe and machine of a fine-tuning run, whatever it starts from.

    The defaults are Detectron2's 1x schedule.
    Every layer is trained and BatchNorm takes its statistics over all replicas, as the protocols
    that compare self-supervised backbones do (He et al., MoCo, 2019, arXiv 1911.05722, section
    4.2).
    """

    default_num_epochs: ClassVar[int] = 12

    model: str = setting(
        "retinanet",
        help="What is trained on the backbone. retinanet: keras-cv's detector; "
        "keras_hub_retinanet: KerasHub's; mask_rcnn: TensorFlow Model Garden's, with masks, on a "
        "ResNet; fcn and deeplab_v3_plus: a class at every pixel.",
        group="model",
        source="[ours]",
        choices=(*detectors.names(), *segmenters.names()),
    )
    student: str = setting(
        "resnet18",
        help="The network of --init=random.",
        group="model",
        source="[paper]",
        choices=tuple(name for name in students.names() if name != "custom"),
    )
    freeze: str = setting(
        "none",
        help="Which part of the backbone is left as it was loaded: all that makes this map of its "
        "pyramid. P2 is the stem and the first stage.",
        group="model",
        source="[MoCo]",
        choices=("none", "P2", "P3", "P4", "P5"),
    )
    batch_norm: str = setting(
        "synchronized",
        help="The backbone's BatchNorm. synchronized: trained, statistics over all replicas; "
        "frozen: as it was loaded, not for --init=random.",
        group="model",
        source="[MoCo]",
        choices=("synchronized", "frozen"),
    )
    anchor_size: float = setting(
        4.0,
        help="Side of the smallest anchors of a pyramid level, for the RetinaNets: 4 is 32 pixels "
        "at P3. Objects under 0.7 of that a side are not learnt: take 2, or a larger image_size.",
        group="model",
        source="[RetinaNet]",
        unit="strides of the level",
        minimum=0.125,
        maximum=64,
        reason="0.125 strides are one pixel at P3.",
        maximum_reason="64 strides are 8192 pixels at P7.",
    )
    dataset: str = setting(
        "synthetic",
        help="Labelled images. coco_json: COCO's JSON, images in DIR/SPLIT, DIR or DIR/images; "
        "voc: VOC's layout, its lists in ImageSets/Main for boxes and ImageSets/Segmentation for "
        "class maps; tfds: TensorFlow Datasets, coco or voc; tfrecord: what prepare wrote; "
        "png_maps: DIR/SPLIT/NAME.jpg, class ids in DIR/SPLIT_sem/NAME.png, names of classes in "
        "DIR/classes.txt if there; synthetic: made on the fly. Detectors take all but png_maps; "
        "segmenters png_maps, tfrecord, voc, synthetic.",
        group="data",
        source="[ours]",
        choices=tuple(sorted({*data.names("annotated"), *data.names("segmented")})),
    )
    data_dir: str | None = with_default(
        ImagesConfig,
        "data_dir",
        None,
        source="[ours]",
        help="Where the images are; with tfds, where TensorFlow Datasets keeps its files.",
    )
    tfds_name: str | None = with_default(
        ImagesConfig,
        "tfds_name",
        None,
        source="[ours]",
        help="Name in TensorFlow Datasets: coco/2017, voc/2012 and the like.",
    )
    max_pixels: int = with_default(ImagesConfig, "max_pixels", data.MAX_PIXELS, source="[ours]")
    train_split: str = setting(
        "train",
        help="Which split is trained on.",
        group="data",
        source="[ours]",
    )
    eval_split: str = setting(
        "val",
        help="Which split is evaluated on: val, test, val2017, ..., as the data calls it.",
        group="data",
        source="[ours]",
    )
    train_annotations: str | None = setting(
        None,
        help="The JSON file of the training split, with coco_json.",
        group="data",
        source="[ours]",
        unit="path",
        when_none="DIR/instances_SPLIT.json or DIR/annotations/instances_SPLIT.json",
    )
    eval_annotations: str | None = setting(
        None,
        help="The JSON file of the evaluation split, with coco_json.",
        group="data",
        source="[ours]",
        unit="path",
        when_none="DIR/instances_SPLIT.json or DIR/annotations/instances_SPLIT.json",
    )
    image_size: int = with_default(
        RunConfig,
        "image_size",
        640,
        source="[ours]",
        help="Side of the square that images are resized and padded to, their aspect kept.",
    )
    global_batch_size: int = with_default(
        RunConfig, "global_batch_size", 16, source="[Detectron2]", minimum=1
    )
    num_epochs: int | None = with_default(
        RunConfig,
        "num_epochs",
        None,
        source="[Detectron2]",
        when_none=f"{default_num_epochs}, the 1x schedule, unless --num_steps is given",
    )
    learning_rate: float | None = setting(
        None,
        help="Base rate: the highest rate is this x --global_batch_size / 16. It rises over the "
        "warm-up, then falls as --schedule says. SGD, momentum 0.9.",
        group="training",
        source="[Detectron2]",
        unit="per 16 images",
        **LEARNING_RATE,
        when_none=f"{_RATE}; for mask_rcnn {_RATES['mask_rcnn']}",
    )
    schedule: str = setting(
        "step",
        help="step: a tenth of the rate after 2/3 and again after 8/9 of the run; cosine: to 0.",
        group="training",
        source="[Detectron2]",
        choices=("step", "cosine"),
    )
    weight_decay: float = with_default(RunConfig, "weight_decay", 1e-4, source="[Detectron2]")
    warmup_epochs: float | None = with_default(
        RunConfig,
        "warmup_epochs",
        None,
        source="[Detectron2]",
        when_none=f"{MOST_WARMUP_STEPS} steps, but at most a tenth of the run",
    )
    eval_every_epochs: float | None = setting(
        None,
        help="How often the evaluation split is scored on the way.",
        group="run",
        source="[ours]",
        unit="epochs",
        above=0,
        **EPOCHS,
        when_none="at the end alone",
    )

    @property
    def is_segmenter(self) -> bool:
        """Whether the model gives each pixel a class, in place of boxes."""
        return self.model in segmenters.names()

    @property
    def base_rate(self) -> float:
        """The learning rate per 16 images, the model's own where none is given."""
        return self.learning_rate or _RATES.get(self.model, _RATE)

    def warmup_steps(self, num_examples: int) -> int:
        if self.warmup_epochs is None:
            return min(MOST_WARMUP_STEPS, self.total_steps(num_examples) // 10)
        return super().warmup_steps(num_examples)

    def evaluate_every(self, num_examples: int) -> int | None:
        """Returns after how many steps the evaluation split is scored; None for the end alone."""
        if self.eval_every_epochs is None:
            return None
        return max(1, round(self.eval_every_epochs * num_examples / self.global_batch_size))

    def conflicts(self) -> Iterator[Conflict]:
        yield from super().conflicts()
        yield from self._data_conflicts()
        if self.model == "mask_rcnn" and self.image_size % _COARSEST_OF_MASK_RCNN:
            text = f"mask_rcnn wants a multiple of {_COARSEST_OF_MASK_RCNN}, the stride of P6."
            yield ("image_size", "model"), f"{text} Received: {self.image_size}."

    def init_conflicts(self, init: str) -> Iterator[Conflict]:
        """Yields what does not go with one init, for the jobs that have one or several."""
        if init == "random" and self.batch_norm == "frozen":
            text = "a random backbone has no statistics to keep. Set batch_norm to synchronized."
            yield ("batch_norm",), text
        if init == "random" and self.freeze != "none":
            text = "a random backbone has nothing worth keeping. Set freeze to none."
            yield ("freeze",), text

    def _data_conflicts(self) -> Iterator[Conflict]:
        fitting = data.names("segmented" if self.is_segmenter else "annotated")
        if self.dataset not in fitting:
            text = f"{self.model} takes {', '.join(fitting)}. Received: {self.dataset}."
            yield ("dataset", "model"), text
        if self.dataset in _NEEDS_DIRECTORY:
            if self.data_dir is None:
                yield ("data_dir", "dataset"), f"dataset={self.dataset} needs it."
            elif not Path(self.data_dir).is_dir():
                text = f"expected an existing directory. Received: {self.data_dir!r}."
                yield ("data_dir",), text
        if (self.dataset == "tfds") != (self.tfds_name is not None):
            text = "dataset=tfds needs it, and no other has a use for it."
            yield ("tfds_name", "dataset"), text
        if self.train_split == self.eval_split and (
            self.dataset != "coco_json" or self.train_annotations == self.eval_annotations
        ):
            text = "expected other images than those trained on. Received: the same split."
            yield ("eval_split", "train_split"), f"{text} Name another."
        for name in ("train_annotations", "eval_annotations"):
            path = getattr(self, name)
            if path is None:
                continue
            if self.dataset != "coco_json":
                text = f"dataset={self.dataset} has no use for it. Set dataset to coco_json."
                yield (name, "dataset"), text
            elif not Path(path).is_file():
                yield (name,), f"expected an existing file. Received: {path!r}."
