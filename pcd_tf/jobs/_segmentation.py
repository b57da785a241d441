"""Semantic segmentation as a fine-tuning job sees it: data, model, scores, pictures, export."""

from pathlib import Path
from typing import Any

import keras
import numpy as np

from pcd_tf import data, segmenters
from pcd_tf.configs.finetune import Config
from pcd_tf.evaluation.segmentation import ConfusionMatrix
from pcd_tf.inits import Init
from pcd_tf.jobs import _fitting
from pcd_tf.training import predictions

_NUM_SHOWN = 8  # images of a picture


class Segmentation(_fitting.Task):
    """A segmenter's training and evaluation images, and what is done with them.

    Args:
        config: of the run.

    Raises:
        UserError: when the images or their maps do not fit, before anything long.
    """

    metric = "mIoU"

    def __init__(self, config: Config) -> None:
        splits = (config.train_split, config.eval_split)
        super().__init__(
            config, *data.build_segmented_two(config.dataset, splits, data_dir=config.data_dir)
        )
        total = self.held_out.num_examples
        count = min(_NUM_SHOWN, total)
        self._shown = {place * total // count: np.zeros((0, 0), np.uint8) for place in range(count)}

    def build(self, init: Init) -> keras.Model:
        """Builds the segmenter on an init's backbone."""
        return segmenters.build(
            self._config.model,
            init.backbone,
            class_names=self.train.class_names,
            mean=init.mean,
            std=init.std,
        )

    def batches(self, global_batch_size: int, start_step: int = 0) -> Any:
        """Makes the training stream, a tf.data.Dataset, from a step on."""
        return data.segmented_batches(
            self.train,
            image_size=self._config.image_size,
            global_batch_size=global_batch_size,
            seed=self._config.seed,
            start_step=start_step,
        )

    def evaluate(self, model: keras.Model) -> dict[str, Any]:
        """Scores the evaluation split at the images' own sizes: see `ConfusionMatrix.scores`."""
        matrix = ConfusionMatrix(self.held_out.class_names)
        found = segmenters.classes(
            model,
            self.held_out,
            image_size=self._config.image_size,
            batch_size=self._batch_size,
        )
        maps = data.class_maps(self.held_out)
        for index, (true, classes) in enumerate(zip(maps, found, strict=True)):
            matrix.add(true, classes)
            if index in self._shown:
                self._shown[index] = classes
        return matrix.scores()

    def draw(self, path: Path) -> None:
        """Draws the classes that the last evaluation found beside the true ones."""
        shown = [
            predictions.ClassMaps(
                self.held_out.image(index), self.held_out.semantic_map(index), found
            )
            for index, found in self._shown.items()
        ]
        predictions.draw_class_maps(shown, self.train.class_names, path)

    def export(self, model: keras.Model, directory: Path) -> None:
        """Writes the SavedModel."""
        segmenters.export(model, directory, image_size=self._config.image_size)

    def describe(self) -> str:
        """Says what is trained and evaluated on."""
        return (
            f"  train     {self.train.num_examples} images of {self.train.name}, "
            f"{len(self.train.class_names)} classes\n"
            f"  evaluate  {self.held_out.num_examples} images of {self.held_out.name}"
        )
