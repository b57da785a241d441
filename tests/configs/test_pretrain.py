"""The defaults of pretrain are MoCo v3's."""

import pytest

from pcd_tf.configs.pretrain import Config
from pcd_tf.settings import declared


def test_defaults_are_published():
    config = Config(workdir="x")
    assert config.teacher == "moco_v3_resnet50"
    assert config.optimizer == "lars"
    assert (config.learning_rate, config.weight_decay) == (0.6, 1e-6)
    assert (config.global_batch_size, config.image_size) == (4096, 224)
    assert (config.encoder_momentum, config.temperature) == (0.99, 1.0)
    steps_per_epoch = 10
    assert config.total_steps(4096 * steps_per_epoch) == 100 * steps_per_epoch
    assert config.warmup_steps(4096 * steps_per_epoch) == 10 * steps_per_epoch


def test_only_what_moco_v3_can_train_here_is_a_choice():
    (teacher,) = (entry for entry in declared(Config) if entry.name == "teacher")
    assert teacher.choices == ("moco_v3_resnet18", "moco_v3_resnet50")
    Config(workdir="x", teacher="moco_v3_resnet18").validate()
    for other in ("swav_resnet50", "moco_v3_vit_s16", "dinov2"):
        with pytest.raises(
            ValueError, match="teacher: expected one of moco_v3_resnet18, moco_v3_r"
        ):
            Config(workdir="x", teacher=other).validate()
