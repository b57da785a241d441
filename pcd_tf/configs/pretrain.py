"""The settings of `pretrain`: a teacher made from images alone, by MoCo v3."""

import dataclasses

from pcd_tf import teachers
from pcd_tf.configs.training import TrainingConfig
from pcd_tf.settings import setting, with_default


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(TrainingConfig):
    """Settings of a pre-training run. The defaults are MoCo v3's for ResNet-50 at 100 epochs.

    Source: Chen, Xie, He, "An Empirical Study of Training Self-Supervised Vision Transformers",
    2021, arXiv 2104.02057.

    Example:
        Config(workdir="runs/teacher", dataset="folder", data_dir="photographs").validate()
    """

    teacher: str = setting(
        "moco_v3_resnet50",
        help="Which teacher to train; the one with resnet18 is for small machines.",
        group="model",
        source="[MoCo v3]",
        choices=teachers.names("moco_v3_resnet"),  # what this job can train, by its method
    )
    encoder_momentum: float = setting(
        0.99,
        help="Momentum of the momentum encoder at the start, rising to 1 by a cosine. MoCo v3 "
        "takes 0.996 for 1000 epochs.",
        group="training",
        source="[MoCo v3]",
        minimum=0,
        maximum=1,
        maximum_reason="It is the share of the old weights.",
    )
    temperature: float = setting(
        1.0,
        help="Temperature of the contrastive loss: 1.0 for a ResNet, 0.2 for a ViT.",
        group="training",
        source="[MoCo v3]",
        minimum=0.01,
        maximum=100,
        reason="Below, the loss sees the nearest image alone.",
        maximum_reason="Above, all images look alike to the loss.",
    )
    global_batch_size: int = with_default(
        TrainingConfig, "global_batch_size", 4096, source="[MoCo v3]"
    )
    learning_rate: float = with_default(TrainingConfig, "learning_rate", 0.6, source="[MoCo v3]")
    weight_decay: float = with_default(TrainingConfig, "weight_decay", 1e-6, source="[MoCo v3]")
