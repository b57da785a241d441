"""A trained Mask R-CNN on images of any size: boxes and masks in the pixels of the images."""

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from pcd_tf import data
from pcd_tf.detectors import _mask_rcnn_masks
from pcd_tf.evaluation import detection

Array = npt.NDArray[Any]

_OUTPUTS = ("boxes", "scores", "classes", "masks")


class Detector:
    """Finds objects with Model Garden's model.

    Args:
        model: (B, S, S, 3) and the images' size (B, 2) -> "detection_boxes" (B, N, 4), y1, x1, y2,
            x2 in pixels of S; "detection_scores" and "detection_classes" (B, N), the background
            class 0; "detection_masks" (B, N, M, M) within the boxes; "num_detections" (B,).
        fit: uint8 (H, W, 3) -> normalised, resized with its aspect kept and padded at the bottom
            and the right (S, S, 3); and how many of its pixels one of the image takes, vertically
            and horizontally, float32 (2,).
        image_size: S.
        batch_size: B; the last batch is filled up, so that one graph serves all.
    """

    def __init__(
        self,
        model: Callable[..., Mapping[str, tf.Tensor]],
        fit: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]],
        *,
        image_size: int,
        batch_size: int,
    ) -> None:
        self._model = model
        self._fit = tf.function(
            fit, input_signature=[tf.TensorSpec((None, None, 3), tf.uint8)], autograph=False
        )
        self._image_size = image_size
        self._batch_size = batch_size
        self._graph = tf.function(self._run)

    def evaluate(self, source: data.Annotated) -> detection.Detections:
        """Finds the objects on all images of a source."""
        found = detection.Detections(source)
        indices = range(source.num_examples)
        images = data.annotated_images(source, indices)
        for first in indices[:: self._batch_size]:
            batch = list(itertools.islice(images, self._batch_size))
            for index, objects in enumerate(self(batch), first):
                found.add(index, **objects)
        return found

    def __call__(self, images: list[Array]) -> list[dict[str, Any]]:
        """Finds the objects on up to a batch of uint8 images (H, W, 3).

        Returns:
            for each image: "boxes" float32 (n, 4), x1, y1, x2, y2 in its pixels; "scores" float32
            (n,), falling; "classes" int64 (n,), from 0; "masks", n COCO RLEs.
        """
        fitted, scales = zip(*(self._fit(image) for image in images), strict=True)
        missing = self._batch_size - len(images)
        batch = tf.stack([*fitted, *[tf.zeros_like(fitted[0])] * missing])  # (B, S, S, 3)
        outputs = {name: value.numpy() for name, value in self._graph(batch).items()}
        return [
            _in_pixels({name: x[i] for name, x in outputs.items()}, scales[i].numpy(), image.shape)
            for i, image in enumerate(images)
        ]

    def _run(self, batch: tf.Tensor) -> dict[str, tf.Tensor]:
        size = tf.fill([self._batch_size, 2], float(self._image_size))  # padded, as in training
        outputs = self._model(batch, image_shape=size, training=False)
        kept = {name: tf.cast(outputs[f"detection_{name}"], tf.float32) for name in _OUTPUTS}
        return {**kept, "count": outputs["num_detections"]}


def _in_pixels(
    outputs: Mapping[str, Array], scale: Array, shape: tuple[int, ...]
) -> dict[str, Any]:
    """Takes what was found on one image from the padded image back to its own pixels."""
    height, width = shape[:2]
    count = int(outputs["count"])
    y1, x1, y2, x2 = (outputs["boxes"][:count] / np.tile(scale, 2)).T
    boxes = np.stack([x1, y1, x2, y2], axis=-1)
    boxes = np.clip(boxes, 0, np.array([width, height] * 2, np.float32))
    return {
        "boxes": boxes,
        "scores": outputs["scores"][:count],
        "classes": outputs["classes"][:count].astype(np.int64) - 1,
        "masks": _mask_rcnn_masks.paste(outputs["masks"][:count], boxes, (height, width)),
    }
