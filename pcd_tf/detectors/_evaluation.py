"""What a detector finds on every image of a source."""

from typing import Any

import tensorflow as tf

from pcd_tf import data, errors
from pcd_tf.evaluation.detection import Detections


@errors.translated()
def evaluate(model: Any, source: data.Annotated, *, image_size: int, batch_size: int) -> Detections:
    """Detects on all images of a source; see `pcd_tf.detectors.evaluate`."""

    @tf.function
    def detect(images: tf.Tensor, sizes: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = model.detect(images)
        return {**outputs, "boxes": data.boxes_in_image(outputs["boxes"], sizes, image_size)}

    found = Detections(source)
    batches = data.annotated_in_order(source, image_size=image_size, batch_size=batch_size)
    for batch in batches:
        missing = batch_size - len(batch["images"])  # so that one shape is compiled
        images = tf.pad(batch["images"], [[0, missing], [0, 0], [0, 0], [0, 0]])
        sizes = tf.pad(batch["size"], [[0, missing], [0, 0]], constant_values=1)
        outputs = {name: value.numpy() for name, value in detect(images, sizes).items()}
        for place, index in enumerate(batch["index"].numpy().tolist()):
            count = outputs["count"][place]
            found.add(
                index, *(outputs[key][place, :count] for key in ("boxes", "scores", "classes"))
            )
    return found
