"""RetinaNet of KerasHub: its feature pyramid, heads, anchors and label encoder on a student."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import keras_hub
from keras import ops

from pcd_tf.detectors import _one_stage

# Lin et al. 2017, section 4.1: of every new convolution's weights, and of an object at the start.
_DEVIATION = 0.01
_PRIOR = 0.01


class KerasHubRetinaNet(_one_stage.OneStageDetector):
    """KerasHub's RetinaNet, with this project's loss and non-maximum suppression.

    Next to keras-cv's it has heads of four convolutions, as in the paper, and anchors that are not
    clipped and stand on the corners of pixels, as torchvision's. Its heads are initialised as in
    the paper: KerasHub 0.32 itself draws with deviation 0.05, and gives the prior probability to
    the head of the boxes instead of that of the classes.
    Source: keras-hub 0.32, `keras_hub.models.RetinaNetObjectDetector`; Lin et al., "Focal Loss for
    Dense Object Detection", 2017, arXiv 1708.02002.

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
        model = KerasHubRetinaNet(students.build("resnet18"), class_names=["cell"], mean=m, std=s)
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
        pyramid = keras_hub.models.RetinaNetBackbone(
            image_encoder=_one_stage.pyramid(backbone),
            min_level=3,
            max_level=7,
            use_p5=False,  # P6 stands on the backbone's map, as in the paper, section 4
        )
        anchor_generator = keras_hub.layers.AnchorGenerator(
            "xyxy",
            min_level=3,
            max_level=7,
            num_scales=_one_stage.NUM_SIZES,
            aspect_ratios=list(_one_stage.ASPECT_RATIOS),
            anchor_size=anchor_size,
            dtype="float32",
        )
        network = keras_hub.models.RetinaNetObjectDetector(
            pyramid,
            num_classes=len(class_names),
            bounding_box_format="xyxy",
            anchor_generator=anchor_generator,
        )
        # Its class is public only as a part of the detector's.
        label_encoder = type(network.label_encoder)(
            anchor_generator,
            bounding_box_format="xyxy",
            encoding_format=_one_stage.ENCODING,
            box_variance=list(_one_stage.VARIANCE),
            dtype="float32",
        )
        _initialise(network.box_head, bias=0.0)
        _initialise(network.classification_head, bias=math.log(_PRIOR / (1.0 - _PRIOR)))
        super().__init__(
            backbone,
            network,
            outputs=("bbox_regression", "cls_logits"),
            label_encoder=label_encoder,
            class_names=class_names,
            mean=mean,
            std=std,
            name="keras_hub_retinanet",
        )

    def anchors(self, images: Any) -> Any:
        levels = self.label_encoder.anchor_generator(images)
        return ops.concatenate([*levels.values()], axis=0)  # [A, 4]

    def targets(self, images: Any, boxes: Any, labels: Any) -> tuple[Any, Any]:
        offsets, classes = self.label_encoder(images, boxes, labels)
        return offsets, classes


def build(backbone: keras.Model, **options: Any) -> KerasHubRetinaNet:
    """Builds the detector; its arguments are the class's."""
    return KerasHubRetinaNet(backbone, **options)


def _initialise(head: keras.layers.Layer, *, bias: float) -> None:
    for convolution in (*head.conv_layers, head.prediction_layer):
        draw = keras.initializers.RandomNormal(stddev=_DEVIATION)  # draws the same when used twice
        convolution.kernel.assign(draw(convolution.kernel.shape))
    head.prediction_layer.bias.assign(ops.full(head.prediction_layer.bias.shape, bias))
