"""The classes of every image of a source, at the images' own sizes."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from pcd_tf import data, errors
from pcd_tf.segmenters._segmenter import Segmenter


def classes(
    model: Segmenter, source: data.Segmented, *, image_size: int, batch_size: int
) -> Iterator[npt.NDArray[np.uint8]]:
    """Segments a source in order; see `pcd_tf.segmenters.classes`."""
    segment = tf.function(model.segment)
    with errors.translated():
        for batch in data.segmented_in_order(source, image_size=image_size, batch_size=batch_size):
            missing = batch_size - len(batch["images"])  # so that one shape is compiled
            images = tf.pad(batch["images"], [[0, missing], [0, 0], [0, 0], [0, 0]])
            logits = segment(images)  # (B, S, S, K)
            for place in range(len(batch["index"])):
                height, width = batch["size"][place].numpy()
                shape = batch["original"][place]
                inside = logits[place, :height, :width]
                inside = tf.image.resize(inside, shape)  # (H, W, K), bilinear
                yield tf.argmax(inside, axis=-1).numpy().astype(np.uint8)
