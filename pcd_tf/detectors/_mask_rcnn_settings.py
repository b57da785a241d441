"""How a Mask R-CNN is trained, and what of it is refused."""

import dataclasses

import tensorflow as tf

from pcd_tf import data, inits, outside
from pcd_tf.detectors import _mask_rcnn_layout as layouts
from pcd_tf.errors import UserError

LEVELS = (2, 6)  # of the feature pyramid; Lin et al., 2017, arXiv 1612.03144, section 4.1
_CHOICES = {
    "schedule": ("step", "cosine"),
    "batch_norm": ("synchronized", "frozen"),
    "precision": ("float32", "mixed_bfloat16", "mixed_float16"),
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a Mask R-CNN is trained.

    The defaults are the 1x schedule of He et al., "Rethinking ImageNet Pre-training", 2019, arXiv
    1811.08883, section 3, which Detectron2 and the transfer experiments of MoCo follow: 90,000
    steps of 16 images, SGD, the learning rate divided by 10 after 60,000 and 80,000.

    Args:
        strategy: the replicas.
        image_size: side of the square that an image is fitted into, in pixels; a multiple of 64.
        global_batch_size: images a step, over all replicas.
        num_steps: of training.
        warmup_steps: over which the learning rate rises, linearly.
        learning_rate: the highest.
        schedule: "step", by `boundaries` and `decay`, or "cosine", to 0.
        boundaries: where the learning rate is multiplied by `decay`, in parts of num_steps.
        decay: the factor.
        weight_decay: of kernels; 0 for none.
        momentum: of SGD.
        frozen_stages: of the backbone, not trained: 1 the stem, 2 the first stack as well, ...
        batch_norm: of the backbone: "synchronized", its statistics over all replicas, or "frozen",
            the given statistics, nothing of it trained. That of the new heads is synchronized.
        eval_every_steps: in steps; None for the end alone.
        log_every_steps: in steps.
        checkpoint_every_steps: in steps; at each evaluation as well.
        precision: "float32", "mixed_bfloat16" or "mixed_float16".
        seed: of the new weights and of the order of images. Images are read and augmented in
            parallel, so runs with the same seed are alike, not the same bit for bit.
    """

    strategy: tf.distribute.Strategy
    image_size: int = 1024
    global_batch_size: int = 16
    num_steps: int = 90_000
    warmup_steps: int = 1000
    learning_rate: float = 0.02
    schedule: str = "step"
    boundaries: tuple[float, ...] = (2 / 3, 8 / 9)
    decay: float = 0.1
    weight_decay: float = 1e-4
    momentum: float = 0.9
    frozen_stages: int = 0
    batch_norm: str = "synchronized"
    eval_every_steps: int | None = None
    log_every_steps: int = 50
    checkpoint_every_steps: int = 1000
    precision: str = "float32"
    seed: int = 0


def check(
    init: inits.Init,
    train_source: data.Annotated,
    eval_source: data.Annotated,
    settings: Settings,
) -> None:
    """Raises a UserError when the init, a source or a setting does not fit; says what would."""
    layouts.describe(init.backbone)
    for source in (train_source, eval_source):
        if not source.has_masks:
            raise UserError(
                "model=mask_rcnn: expected a source with a mask for each object. Received: "
                f"{source.name} ({source.mask_fault}). Use --model=retinanet, or annotations with "
                "masks: --dataset=coco_json."
            )
    outside.check_same_classes(train_source, eval_source)
    for name, choices in _CHOICES.items():
        received = getattr(settings, name)
        if received not in choices:
            raise UserError(
                f"{name}: expected one of {', '.join(choices)}. Received: {received!r}."
            )
    multiple = 2 ** LEVELS[1]
    if settings.image_size % multiple or settings.image_size < multiple:
        raise UserError(
            f"image_size: expected a multiple of {multiple} pixels, the stride of the coarsest "
            f"map. Received: {settings.image_size}."
        )
    num_replicas = settings.strategy.num_replicas_in_sync
    if settings.global_batch_size % num_replicas:
        raise UserError(
            f"global_batch_size: expected a multiple of the {num_replicas} replicas. "
            f"Received: {settings.global_batch_size}."
        )
