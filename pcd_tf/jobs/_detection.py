"""Detection as a fine-tuning job sees it: data, model, scores, pictures, export."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from pycocotools import mask as mask_tools

from pcd_tf import data, detectors, outside
from pcd_tf.configs.finetune import Config
from pcd_tf.errors import UserError
from pcd_tf.inits import Init
from pcd_tf.jobs import _fitting
from pcd_tf.training import predictions

_NUM_SHOWN = 8  # images of a picture
_SHOWN_SCORE = 0.3  # least score of a box that is drawn


class Detection(_fitting.Task):
    """A detector's training and evaluation images, and what is done with them.

    Args:
        config: of the run.

    Raises:
        UserError: when the images or their annotations do not fit, before anything long.
    """

    metric = "AP"

    def __init__(self, config: Config) -> None:
        train = self._open(config, config.train_split, config.train_annotations)
        held_out = self._open(config, config.eval_split, config.eval_annotations, train.class_names)
        if set(held_out.class_names) > set(train.class_names):  # it may use one that train left out
            names = held_out.class_names
            train = self._open(config, config.train_split, config.train_annotations, names)
        super().__init__(config, train, held_out)
        outside.check_same_classes(train, held_out)
        for source in (train, held_out):
            if not _has_objects(source):
                raise UserError(
                    f"Expected objects in {source.name}, to learn from and to be scored. Received: "
                    f"{source.num_examples} images without any but crowds. Is it the right "
                    "annotation file?"
                )
            source.check()
        self.found: list[dict[str, Any]] = []  # by the last evaluation, COCO's results format

    def build(self, init: Init) -> keras.Model:
        """Builds the detector on an init's backbone."""
        return detectors.build(
            self._config.model,
            init.backbone,
            class_names=self.train.class_names,
            mean=init.mean,
            std=init.std,
            anchor_size=self._config.anchor_size,
        )

    def batches(self, global_batch_size: int, start_step: int = 0) -> Any:
        """Makes the training stream, a tf.data.Dataset, from a step on."""
        return data.annotated_batches(
            self.train,
            data.Augmentation(),
            image_size=self._config.image_size,
            global_batch_size=global_batch_size,
            seed=self._config.seed,
            start_step=start_step,
        )

    def evaluate(self, model: keras.Model) -> dict[str, Any]:
        """Scores the evaluation split: see `Detections.scores`."""
        found = detectors.evaluate(
            model,
            self.held_out,
            image_size=self._config.image_size,
            batch_size=self._batch_size,
        )
        self.found = found.results()
        return found.scores()

    def files(self) -> dict[str, list[Any]]:
        """Gives what the last evaluation found, in COCO's results format: file name -> content."""
        return {"detections.json": self.found}

    def draw(self, path: Path) -> None:
        by_image: dict[int, list[dict[str, Any]]] = {}
        for result in self.found:
            if result["score"] >= _SHOWN_SCORE:
                by_image.setdefault(result["image_id"], []).append(result)
        indices = self.held_out.images.examples_to_show(_NUM_SHOWN)
        shown = []
        for index, image in zip(
            indices, data.annotated_images(self.held_out, indices), strict=True
        ):
            results = by_image.get(self.held_out.objects(index).image_id, [])
            shown.append(_beside(self.held_out, index, image, results))
        predictions.draw_boxes(shown, self.train.class_names, path)

    def export(self, model: keras.Model, directory: Path) -> None:
        """Writes the SavedModel."""
        detectors.export(
            model,
            directory,
            image_size=self._config.image_size,
            class_names=self.train.class_names,
        )

    def describe(self) -> str:
        """Says what is trained and evaluated on, and what of the annotations was left out."""
        lines = []
        for title, source in (("train", self.train), ("evaluate", self.held_out)):
            counts = ", ".join(
                f"{value} {name[4:].replace('_', ' ')}"
                for name, value in source.counts.items()
                if value
            )
            lines.append(f"  {title:<9} {source.num_examples} images of {source.name}: {counts}")
        return "\n".join(lines)

    @staticmethod
    def _open(
        config: Config, split: str, annotations: str | None, class_names: Sequence[str] = ()
    ) -> data.Annotated:
        return data.build_annotated(
            config.dataset,
            data_dir=config.data_dir,
            split=split,
            annotations=annotations,
            class_names=class_names,
            tfds_name=config.tfds_name,
        )


def _has_objects(source: data.Annotated) -> bool:
    """Whether anything can be learnt or found; looks no further than the first image with some."""
    for index in range(source.num_examples):
        objects = source.objects(index)
        _, kept = objects.inside()
        if (kept & ~objects.crowd).any():
            return True
    return False


def _beside(
    source: data.Annotated,
    index: int,
    image: npt.NDArray[np.uint8],
    results: list[dict[str, Any]],
) -> predictions.Boxes:
    """One image of a source, what is on it and what was found."""
    objects = source.objects(index)
    corners = np.array([result["bbox"] for result in results]).reshape(-1, 4)  # x, y, w, h
    corners[:, 2:] += corners[:, :2]
    classes = [source.category_ids.index(result["category_id"]) for result in results]
    masks = [result["segmentation"] for result in results if "segmentation" in result]
    true_masks = source.masks(index) if masks else None
    return predictions.Boxes(
        image=image,
        true_boxes=objects.boxes,
        true_classes=objects.labels,
        boxes=corners,
        classes=np.array(classes, np.int64),
        scores=np.array([result["score"] for result in results]),
        true_masks=None if true_masks is None else _decoded(true_masks),
        masks=_decoded(masks) if masks else None,
    )


def _decoded(masks: Sequence[dict[str, Any]]) -> npt.NDArray[np.bool_]:
    """Decodes COCO RLEs: bool (n, H, W)."""
    return np.array([mask_tools.decode(mask) for mask in masks], np.bool_)
