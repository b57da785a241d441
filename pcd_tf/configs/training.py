"""The settings that every job which trains on two views shares."""

import dataclasses

from pcd_tf.configs._bounds import LEARNING_RATE
from pcd_tf.configs._images import ImagesConfig
from pcd_tf.configs._run import RunConfig
from pcd_tf.settings import setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig(ImagesConfig, RunConfig):
    """Data, schedule and machine of a training run. Each job adds its model and its recipe."""

    optimizer: str = setting(
        "lars",
        help="lars: a rate adapted to each layer, made for large batches; sgd: one rate for all. "
        "Momentum 0.9.",
        group="training",
        source="[code]",
        choices=("lars", "sgd"),
    )
    learning_rate: float = setting(
        help="Base rate: the highest rate is this x --global_batch_size / 256. It rises over the "
        "warm-up, then falls to 0 by a cosine.",
        group="training",
        source="[code]",
        unit="per 256 images",
        **LEARNING_RATE,
    )
