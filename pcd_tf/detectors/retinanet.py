"""RetinaNet of keras-cv: its feature pyramid, heads, anchors and label encoder on a student."""

from collections.abc import Sequence
from typing import Any

import keras
import keras_cv
from keras import ops

from pcd_tf.detectors import _one_stage


class RetinaNet(_one_stage.OneStageDetector):
    """keras-cv's RetinaNet, with boxes of this project's loss and non-maximum suppression.

    keras-cv's own training sums the loss of each replica: on N replicas its update is N times too
    large. Its feature pyramid has 256 channels and levels P3 to P7, its heads three convolutions
    (the paper: four); it has no BatchNorm. Its anchors are clipped to the image.
    Source: keras-cv 0.9, `keras_cv.models.RetinaNet`; Lin et al., "Focal Loss for Dense Object
    Detection", 2017, arXiv 1708.02002.

    Args:
        backbone: functional, normalised images (B, S, S, 3) -> map, with P3, P4 and P5.
        class_names: of the labels 0, 1, ...
        mean: per channel, of RGB images in 0..255.
        std: likewise.
        anchor_size: side of a level's smallest anchors, in its strides; 4 by default (the paper):
            32 pixels at P3. Objects under 0.7 of that a side get no anchor: 2 is for small ones.

    Raises:
        ValueError: when the class names or the backbone do not do.

    Example:
        model = RetinaNet(students.build("resnet18"), class_names=["cell"], mean=mean, std=std)
        model.compile(optimizer=keras.optimizers.SGD(0.01, momentum=0.9))
    """

    def __init__(
        self,
        backbone: keras.Model,
        *,
        class_names: Sequence[str],
        mean: Sequence[float],
        std: Sequence[float],
        anchor_size: float = _one_stage.ANCHOR_SIZE,
    ) -> None:
        _one_stage.check_class_names(class_names)
        part = _one_stage.pyramid(backbone)
        strides = [2**level for level in range(3, 8)]
        anchor_generator = keras_cv.layers.AnchorGenerator(
            bounding_box_format="xyxy",
            sizes=[anchor_size * stride for stride in strides],
            scales=[2 ** (i / _one_stage.NUM_SIZES) for i in range(_one_stage.NUM_SIZES)],
            aspect_ratios=list(_one_stage.ASPECT_RATIOS),
            strides=strides,
            clip_boxes=True,
            dtype="float32",
        )
        label_encoder = keras_cv.models.retinanet.LabelEncoder(
            bounding_box_format="xyxy",
            anchor_generator=anchor_generator,
            box_variance=_one_stage.VARIANCE,
            dtype="float32",
        )
        network = keras_cv.models.RetinaNet(
            part, len(class_names), bounding_box_format="xyxy", label_encoder=label_encoder
        )
        super().__init__(
            backbone,
            network,
            outputs=("box", "classification"),
            label_encoder=label_encoder,
            class_names=class_names,
            mean=mean,
            std=std,
            name="retinanet",
        )

    def anchors(self, images: Any) -> Any:
        levels = self.label_encoder.anchor_generator(image_shape=tuple(images.shape[1:]))
        return ops.concatenate([*levels.values()], axis=0)  # [A, 4]

    def targets(self, images: Any, boxes: Any, labels: Any) -> tuple[Any, Any]:
        offsets, classes = self.label_encoder(images, {"boxes": boxes, "classes": labels})
        return offsets, classes


def build(backbone: keras.Model, **options: Any) -> RetinaNet:
    """Builds the detector; its arguments are the class's."""
    return RetinaNet(backbone, **options)
