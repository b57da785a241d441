"""Distiller: a student learns from a frozen teacher, pixel by pixel."""

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from pcd_tf import objectives, replicas
from pcd_tf.errors import UserError
from pcd_tf.layers import MHSA, ProjectionHead
from pcd_tf.losses import PixelContrastiveLoss
from pcd_tf.metrics import feature_spread, pixel_retrieval
from pcd_tf.models import _map_sizes, _step
from pcd_tf.models._pairings import PAIRINGS
from pcd_tf.negatives import NegativeQueue
from pcd_tf.resampling import resize_map
from pcd_tf.teachers import Teacher

MAP_SIZES = ("student", "teacher")


class Distiller(_step.TwoViewModel):
    """Trains a student backbone by Pixel-Wise Contrastive Distillation.

    The student is backbone -> MHSA -> projection head -> prediction head, both heads per-pixel
    MLPs of the teacher's head's widths and depth; only the backbone is kept in the end. The teacher
    is a plain object, so it is neither trained nor saved with the model. Negatives are the spatial
    means of the teacher's maps of earlier images' first views. Use it with `fit` on batches of
    `pcd_tf.data.two_views`; build and compile it under the strategy's scope.

    Where the two maps differ in size, one is brought to the size of the other by `resize_map`, as
    the embeddings behind all heads. There it costs least (D channels, not the heads' hidden width),
    the student's heads work on the pixels that its backbone is kept for, and it is as good as
    before the teacher's head: but for its gates, which the mean decides, the head is affine.
    Averaging keeps the teacher's mean, and so its meaning, exactly; bilinear enlarging exactly at
    whole ratios and else nearly. Negatives are means of the teacher's own map always.
    Source: Huang & Guo, "Pixel-Wise Contrastive Distillation", ICCV 2023, arXiv 2211.00218. Both
    views go through the student as one batch, so its BatchNorm sees both at once (this project's
    choice).

    Shapes: B images, two views each, S pixels a side; H x W pixels of the student's map, h x w of
        the teacher's, H' x W' of the one that `map_size` names; D embedding.

    Args:
        teacher: pcd_tf.teachers.Teacher.
        backbone: keras.Model, normalised images -> map (B, H, W, C); trained.
        queue_size: int, negatives kept; 65536 by default (the authors' code).
        temperature: float, of the contrastive losses; 0.2 by default (the paper).
        objective: what is trained for, one of `pcd_tf.objectives.names()`; "pixel_contrastive" by
            default (the paper), the others to compare with. The metrics are the same for all.
        pairing: "same" (default), "aligned" or "index": see `pcd_tf/models/_pairings.py`.
        map_size: "student" (default) or "teacher": whose map keeps its size where they differ.
            `benchmarks/map_size.py` compares them.
        mhsa: bool, whether self-attention stands behind the backbone; True by default (the paper).
        seed: int or None, of the negatives at the start.

    Call arguments:
        inputs: float (B, S, S, 3), normalised.

    Returns:
        float (B, H, W, D), the student's embedding of every pixel, not normalised.

    Raises:
        UserError: when the pairing, the map size or the objective is unknown, the teacher is none
            of `pcd_tf.teachers`, or the student gives no map.

    Example:
        distiller = Distiller(teacher, pcd_tf.students.build("resnet18"), queue_size=1024)
        distiller.compile(optimizer=LARS(1.0))
        distiller.fit(pcd_tf.data.two_views(...), steps_per_epoch=100)
    """

    def __init__(
        self,
        teacher: Any,
        backbone: Any,
        *,
        queue_size: int = 65536,
        temperature: float = 0.2,
        objective: str = "pixel_contrastive",
        pairing: str = "same",
        map_size: str = "student",
        mhsa: bool = True,
        seed: int | None = None,
    ) -> None:
        super().__init__("distiller", means=("loss", "retrieval_top1", "positive_cosine"))
        _check(teacher, backbone)
        if pairing not in PAIRINGS:
            raise UserError(
                f"`pairing` must be one of {', '.join(PAIRINGS)}. Received: pairing={pairing!r}"
            )
        if map_size not in MAP_SIZES:
            raise UserError(
                f"`map_size` must be one of {', '.join(MAP_SIZES)}. Received: map_size={map_size!r}"
            )
        dim = teacher.embedding_dim
        self.teacher = teacher
        self.backbone = backbone
        self.mhsa = MHSA(name="mhsa") if mhsa else keras.layers.Identity(name="mhsa")
        head = (teacher.hidden_units, dim, teacher.student_layers)
        self.projection = ProjectionHead(*head, name="projection")
        self.prediction = ProjectionHead(*head, name="prediction")
        self.queue = NegativeQueue(queue_size, dim, seed=seed, name="queue")
        self.views_to_images = _step.ViewsToImages(teacher.mean, teacher.std)
        self.pixel_loss = PixelContrastiveLoss(temperature)
        self.map_size = map_size
        self._objective = objectives.build(objective)
        self._pair = PAIRINGS[pairing]
        self.build((None, None, None, 3))
        for part in (self.backbone, self.projection, self.prediction):
            replicas.synchronize(part)

    def build(self, input_shape: Any) -> None:
        del input_shape  # any images
        map_shape = (None, None, None, self.backbone.output_shape[-1])
        self.mhsa.build(map_shape)
        self.projection.build(map_shape)
        self.prediction.build((None, None, None, self.queue.dim))
        self.built = True

    def call(self, inputs: Any, training: bool = False) -> Any:
        x = self.backbone(inputs, training=training)  # [B, H, W, C]
        x = self.mhsa(x)  # [B, H, W, C]
        return self.prediction(self.projection(x, training=training), training=training)

    def train_step(self, data: Any) -> dict[str, Any]:
        """One step on a replica's batch of views; returns what `fit` logs, means over replicas."""
        images = self.views_to_images(data)  # [2B, S, S, 3]
        teacher_maps = self._teacher_maps(images)  # [2B, h, w, D]
        with tf.GradientTape() as tape:
            student_maps = self(images, training=True)  # [2B, H, W, D]
            compared = self._compare(student_maps, teacher_maps, data)
            values, positive, best, weights = compared  # [2B, H', W'] each
            global_count = ops.maximum(replicas.sum_over_replicas(ops.sum(weights)), 1.0)
            loss = ops.sum(weights * values) / global_count  # the one reduction
            scaled_loss = self.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled_loss, self.trainable_variables)
        replicas.apply_gradients(self.optimizer, gradients, self.trainable_variables)

        first_views = _by_view(teacher_maps)[:, 0]  # [B, h, w, D]
        keys = ops.mean(first_views, axis=(1, 2))  # [B, D]
        self.queue.enqueue(replicas.gather_over_replicas(keys))

        found = ops.sum(weights * pixel_retrieval(positive, best)) / global_count
        cosine = ops.sum(weights * positive) / global_count
        spread = feature_spread(student_maps) / replicas.num_replicas()
        logs = replicas.sum_over_replicas(ops.stack([loss, found, cosine, spread]))  # [4]
        names = ("loss", "retrieval_top1", "positive_cosine", "feature_spread")
        return dict(zip(names, ops.unstack(logs, len(names)), strict=True))

    def test_step(self, data: Any) -> dict[str, Any]:
        """Compares a replica's batch of views in inference mode; the queue stays as it is."""
        images = self.views_to_images(data)  # [2B, S, S, 3]
        maps = self(images, training=False), self._teacher_maps(images)
        values, positive, best, weights = self._compare(*maps, data)  # [2B, H', W'] each
        found = pixel_retrieval(positive, best)
        return self._mean_logs(weights, loss=values, retrieval_top1=found, positive_cosine=positive)

    def map_sizes(self, image_size: int) -> dict[str, tuple[int, int]]:
        """Finds how large the maps of "student" and "teacher" are, before anything long.

        Args:
            image_size: side of the square images, pixels.

        Returns:
            (H, W) and (h, w), each network's own, by those names.

        Raises:
            UserError: when one of them takes no images of that size; says which sizes fit.
        """
        return _map_sizes.check({"student": self, "teacher": self.teacher}, image_size)

    def _teacher_maps(self, images: Any) -> Any:
        maps = self.teacher(images)  # [2B, h, w, D]
        if None in maps.shape[1:3]:  # a SavedModel tells its shapes only when it runs
            with tf.init_scope():
                size = _map_sizes.of(self.teacher, images.shape[1])
            maps = tf.ensure_shape(maps, (None, *size, maps.shape[-1]))
        return maps

    def _compare(self, student_maps: Any, teacher_maps: Any, batch: Any) -> tuple[Any, ...]:
        """Gives each pixel's loss, its cosine to its own and to the best negative, its weight."""
        student, teacher = self._to_one_size(student_maps, teacher_maps)  # [2B, H', W', D]
        student, teacher, weights = self._pair(
            _by_view(student), _by_view(teacher), batch
        )  # [B, 2, H', W', D] twice, [B, 2]
        values, positive, best = self._objective(
            self.pixel_loss, _all_views(student), _all_views(teacher), self.queue.vectors
        )  # [2B, H', W'] each
        weights = ops.reshape(weights, (-1, 1, 1)) * ops.ones_like(values)  # [2B, H', W']
        return values, positive, best, weights

    def _to_one_size(self, student_maps: Any, teacher_maps: Any) -> tuple[Any, Any]:
        kept = student_maps if self.map_size == "student" else teacher_maps
        size = kept.shape[1:3]
        return resize_map(student_maps, size), resize_map(teacher_maps, size)


def _check(teacher: Any, backbone: Any) -> None:
    if not isinstance(teacher, Teacher):
        raise UserError(
            "Expected a teacher of pcd_tf.teachers, as `convert` and `load` give it. Received: a "
            f"{type(teacher).__name__}. A Keras model becomes one by pcd_tf.teachers.Teacher(name, "
            "backbone, head), or saved as FILE.keras by convert('custom', 'FILE.keras')."
        )
    shape = getattr(backbone, "output_shape", None)
    if not isinstance(shape, tuple) or len(shape) != 4 or shape[-1] is None:
        raise UserError(
            "Expected a student that gives a map (B, H, W, C), C known. Received: a "
            f"{type(backbone).__name__} that gives {shape or 'no known shape'}. Cut it in front of "
            "its pooling, or let pcd_tf.students.build('custom', model='FILE.keras') do it."
        )


def _by_view(maps: Any) -> Any:
    return ops.reshape(maps, (-1, 2, *maps.shape[1:]))  # [2B, H, W, D] -> [B, 2, H, W, D]


def _all_views(maps: Any) -> Any:
    return ops.reshape(maps, (-1, *maps.shape[2:]))  # [B, 2, H, W, D] -> [2B, H, W, D]
