"""KerasHub preset: to fine-tune the student with KerasHub's classifiers, detectors and segmenters.

    backbone = keras_hub.models.Backbone.from_preset(out)  # takes normalised images
    classifier = keras_hub.models.ImageClassifier.from_preset(out, num_classes=5)  # takes raw ones
    converter = keras_hub.layers.ImageConverter.from_preset(out)  # resizes and normalises

The normalisation of the run is in the preset, so a task that is loaded from it takes RGB images in
0..255. A detector:

    detector = keras_hub.models.RetinaNetObjectDetector(
        backbone=keras_hub.models.RetinaNetBackbone(
            image_encoder=backbone, min_level=3, max_level=7, use_p5=False
        ),
        num_classes=20,
        bounding_box_format="xyxy",
        preprocessor=keras_hub.models.RetinaNetObjectDetectorPreprocessor(
            image_converter=keras_hub.layers.RetinaNetImageConverter(
                image_size=(512, 512), scale=converter.scale, offset=converter.offset
            )
        ),
    )

KerasHub's MobileNet has no `pyramid_outputs`, without which its detectors refuse it; after
`from_preset`, set them: `backbone.pyramid_outputs = pcd_tf.students.pyramid(backbone)`.

A ViT becomes KerasHub's own, which is made for one size of images (`--image_size`) and gives
tokens, the class token first, without a pyramid.
"""

from pathlib import Path

from export import _preset
from export._order import Order
from export._verify import Entrance


def write(order: Order, directory: Path) -> None:
    """Writes the preset.

    Raises:
        ValueError: when the student is no backbone of KerasHub.
    """
    _preset.write(order.student, directory, order.size_or_run)
    if _preset.lacks_pyramid(order.student):
        print(
            f"KerasHub's {type(order.student.backbone).__name__} has no pyramid_outputs, which its "
            "detectors need. After from_preset: "
            "backbone.pyramid_outputs = pcd_tf.students.pyramid(backbone)"
        )


def entrances(order: Order, directory: Path) -> dict[str, Entrance]:
    """Loads the backbone and the image converter, and computes what a student gives."""
    return {"from_preset": _preset.entrance(order.student, directory)}
