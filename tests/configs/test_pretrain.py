"""The defaults of pretrain are MoCo v3's."""

from pcd_tf.configs.pretrain import Config


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
