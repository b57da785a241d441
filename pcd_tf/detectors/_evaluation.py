"""What a detector finds on every image of a source."""

from typing import Any

import numpy as np
import tensorflow as tf

from pcd_tf import annotated, errors
from pcd_tf.evaluation.detection import Detections


@errors.translated()
def evaluate(
    model: Any, source: annotated.Source, *, image_size: int, batch_size: int
) -> Detections:
    """Detects on all images of a source; see `pcd_tf.detectors.evaluate`."""
    detect = tf.function(model.detect)
    found = Detections(source)
    for batch in annotated.in_order(source, image_size=image_size, batch_size=batch_size):
        missing = batch_size - len(batch["images"])  # so that one shape is compiled
        images = tf.pad(batch["images"], [[0, missing], [0, 0], [0, 0], [0, 0]])
        outputs = {name: value.numpy() for name, value in detect(images).items()}
        for place, index in enumerate(batch["index"].numpy()):
            count = outputs["count"][place]
            boxes = outputs["boxes"][place, :count] / batch["scale"][place].numpy()
            height, width = source.size(int(index))
            found.add(
                int(index),
                np.clip(boxes, 0.0, [width, height, width, height]),
                outputs["scores"][place, :count],
                outputs["classes"][place, :count],
            )
    return found
