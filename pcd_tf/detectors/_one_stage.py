"""The model around every detector of one stage: boxes against anchors, boxes out."""

import abc
import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from pcd_tf import replicas, students
from pcd_tf.detectors import _losses
from pcd_tf.errors import UserError

LEVELS = ("P3", "P4", "P5")  # of the backbone; Lin et al. 2017, section 4, which adds P6 and P7
COARSEST = 32  # pixels of the image a pixel of P5
ASPECT_RATIOS = (0.5, 1.0, 2.0)  # Lin et al. 2017, section 4, with three sizes at each level
NUM_SIZES = 3
ANCHOR_SIZE = 4.0  # strides of the level a side: 32 pixels at P3; section 4 as well
# Faster R-CNN's scales of the offsets to an anchor, and how its boxes are written; keras-cv's.
VARIANCE = (0.1, 0.1, 0.2, 0.2)
ENCODING = "center_yxhw"
# Of the whole gradient: from random weights a few steps grow without bound else (measured: rate
# 0.02, ResNet-18, 8 images of 128 px). keras-cv's guide, "Object Detection with KerasCV", has 10.
CLIP_NORM = 10.0
# An anchor's class in a label encoder's output, of both libraries: an object's from 0 on.
_BACKGROUND, _IGNORED = -1.0, -2.0
_MAX_DETECTIONS = 100  # an image; COCO's maxDets
_MAX_IOU = 0.5  # of two boxes of one class that are both kept; Lin et al. 2017, section 4
_MAX_GROWTH = math.log(1000 / 16)  # of a side of an anchor, against overflow; Detectron's


class OneStageDetector(keras.Model, abc.ABC):
    """Finds objects from every anchor of a feature pyramid. Whole when made.

    The focal loss of every anchor and the smooth L1 loss of those with an object are divided by the
    number of anchors with an object in the global batch, so that the number of replicas changes
    nothing. Computed in float32, whatever the precision of the network.
    Source: Lin et al., "Focal Loss for Dense Object Detection", 2017, arXiv 1708.02002.

    Shapes: B images of S x S pixels, S a multiple of 32; A anchors; K classes; M places for
        objects; N = 100 boxes at most.

    Args:
        backbone: the student's, kept as `.backbone`.
        network: functional, normalised images -> dict with offsets (B, A, 4) and logits (B, A, K).
        outputs: the names of these two.
        label_encoder: the network's, for `targets`; with its `anchor_generator`.
        class_names: of the labels 0, 1, ...
        mean: per channel, of RGB images in 0..255.
        std: likewise.
        name: of the model.

    Call arguments:
        images: uint8 or float (B, S, S, 3), 0..255.

    Returns:
        float32 offsets (B, A, 4) from the anchors, and logits (B, A, K).
    """

    def __init__(
        self,
        backbone: keras.Model,
        network: keras.Model,
        *,
        outputs: tuple[str, str],
        label_encoder: keras.layers.Layer,
        class_names: Sequence[str],
        mean: Sequence[float],
        std: Sequence[float],
        name: str,
    ) -> None:
        super().__init__(name=name)
        # Not tracked: the network has those of its layers that are used and trained, P3 to P5.
        object.__setattr__(self, "backbone", backbone)
        self.network = keras.Model(network.inputs[0], [network.output[name] for name in outputs])
        self.label_encoder = label_encoder
        self.class_names = tuple(class_names)
        self._mean, self._std = tuple(mean), tuple(std)
        replicas.synchronize(self.network)
        self.built = True

    @abc.abstractmethod
    def anchors(self, images: Any) -> Any:
        """Makes the anchors of images (B, S, S, 3): float32 (A, 4), xyxy in pixels."""

    @abc.abstractmethod
    def targets(self, images: Any, boxes: Any, labels: Any) -> tuple[Any, Any]:
        """Gives every anchor its object: offsets (B, A, 4) and classes (B, A), both float32.

        Args:
            images: (B, S, S, 3), for their size.
            boxes: float32 (B, M, 4), xyxy in pixels.
            labels: float32 (B, M); a place without an object has a box without area.
        """

    def call(self, images: Any, training: bool = False) -> tuple[Any, Any]:
        _check_size(images)
        normalised = (ops.cast(images, "float32") - self._mean) / self._std
        offsets, logits = self.network(normalised, training=training)
        return ops.cast(offsets, "float32"), ops.cast(logits, "float32")

    def train_step(self, data: Any) -> dict[str, Any]:
        """One step on a replica's batch; returns means over the global batch.

        Args:
            data: "images" uint8 (B, S, S, 3), "boxes" float32 (B, M, 4) xyxy in pixels, "labels"
                int32 (B, M), -1 where there is no object.

        Returns:
            "loss", the sum of "class_loss" and "box_loss", each an anchor with an object, and
            "positive_anchors", their number.
        """
        images = data["images"]
        is_object = (data["labels"] >= 0)[..., None]  # [B, M, 1]
        boxes = ops.where(is_object, data["boxes"], 0.0)  # [B, M, 4]
        _check_size(images)
        offsets, classes = self.targets(images, boxes, ops.cast(data["labels"], "float32"))
        positive = ops.cast(classes > _BACKGROUND, "float32")  # [B, A]
        counts = ops.cast(classes > _IGNORED, "float32")  # [B, A]
        class_targets = ops.one_hot(ops.cast(classes, "int32"), len(self.class_names))  # [B, A, K]
        num_positive = replicas.sum_over_replicas(ops.sum(positive))
        global_count = ops.maximum(num_positive, 1.0)
        with tf.GradientTape() as tape:
            found_offsets, logits = self(images, training=True)  # [B, A, 4], [B, A, K]
            class_losses = counts * _losses.focal(class_targets, logits)  # [B, A]
            box_losses = positive * _losses.smooth_l1(offsets, found_offsets)  # [B, A]
            loss = ops.sum(class_losses + box_losses) / global_count  # the one reduction
            scaled_loss = self.optimizer.scale_loss(loss)
        variables = self.trainable_variables
        replicas.apply_gradients(
            self.optimizer,
            tape.gradient(scaled_loss, variables),
            variables,
            clip_norm=CLIP_NORM,
        )
        values = ops.stack([ops.sum(class_losses), ops.sum(box_losses)]) / global_count  # [2]
        class_loss, box_loss = ops.unstack(replicas.sum_over_replicas(values), 2)
        return {
            "loss": class_loss + box_loss,
            "class_loss": class_loss,
            "box_loss": box_loss,
            "positive_anchors": num_positive,
        }

    def detect(self, images: Any, score_threshold: float = 0.05) -> dict[str, Any]:
        """Finds objects: the best first, one box for each, classes apart.

        Args:
            images: uint8 (B, S, S, 3).
            score_threshold: boxes below it are left out; 0.05 by default (Lin et al. 2017, 4.1).

        Returns:
            "boxes" float32 (B, N, 4) xyxy in pixels, inside of the image; "scores" float32 (B, N),
            0..1; "classes" int32 (B, N); "count" int32 (B,), how many there are: zeros follow.
        """
        offsets, logits = self(images, training=False)
        growth = ops.minimum(offsets[..., 2:], _MAX_GROWTH / VARIANCE[2])  # [B, A, 2]
        boxes = keras.utils.bounding_boxes.decode_deltas_to_boxes(
            anchors=self.anchors(images),
            boxes_delta=ops.concatenate([offsets[..., :2], growth], axis=-1),
            anchor_format="xyxy",
            box_format="xyxy",
            encoded_format=ENCODING,
            variance=VARIANCE,
        )  # [B, A, 4]
        height, width = images.shape[1:3]
        sides = tf.constant([width, height, width, height], "float32")
        boxes = ops.minimum(ops.maximum(boxes, 0.0), sides)
        kept = tf.image.combined_non_max_suppression(
            boxes[:, :, None],  # [B, A, 1, 4]: the same for all classes
            ops.sigmoid(logits),
            max_output_size_per_class=_MAX_DETECTIONS,
            max_total_size=_MAX_DETECTIONS,
            iou_threshold=_MAX_IOU,
            score_threshold=score_threshold,
            clip_boxes=False,  # to 0..1
        )
        return {
            "boxes": kept.nmsed_boxes,
            "scores": kept.nmsed_scores,
            "classes": ops.cast(kept.nmsed_classes, "int32"),
            "count": kept.valid_detections,
        }


def pyramid(backbone: keras.Model) -> keras.Model:
    """Makes the part of a backbone that a feature pyramid stands on: images -> its P3, P4 and P5.

    Its layers are the backbone's own. `pyramid_outputs` and `pyramid_level_inputs` are what
    KerasHub and keras-cv want of a backbone.

    Raises:
        UserError: when the backbone lacks one of these levels.
    """
    maps = students.pyramid(backbone)
    missing = [level for level in LEVELS if level not in maps]
    if missing:
        raise UserError(
            "Expected a backbone with maps P3, P4 and P5: a pixel for 8, 16 and 32 pixels of the "
            f"image. Received: {backbone.name!r} without {' and '.join(missing)}, with "
            f"{', '.join(maps) or 'none'}. Choose a convolutional student, such as resnet18, "
            "mobilenet_v3_small or efficientnet_b0, or name the layers of your own by "
            "--student_pyramid."
        )
    named = {level: keras.layers.Identity(name=level)(maps[level]) for level in LEVELS}
    part = keras.Model(backbone.inputs[0], named, name=f"{backbone.name}_pyramid")
    part.pyramid_outputs = named
    part.pyramid_level_inputs = {level: level for level in LEVELS}
    return part


def check_class_names(class_names: Sequence[str]) -> None:
    """Refuses class names that are none, or not all different.

    Raises:
        ValueError: then.
    """
    given = [class_names] if isinstance(class_names, str) else list(class_names)
    wrong = isinstance(class_names, str) or not given or not all(given)
    if wrong or len(set(given)) < len(given):
        raise UserError(
            "Expected the names of one class or more, a sequence of different strings. Received: "
            f"class_names={class_names!r}"
        )


def _check_size(images: Any) -> None:
    height, width = images.shape[1:3]
    if height is None or width is None or height % COARSEST or width % COARSEST:
        raise UserError(
            f"Expected images with sides known beforehand, multiples of {COARSEST} pixels, so that "
            f"the levels of the pyramid fit each other. Received: {height} x {width}. Give another "
            "--image_size."
        )
