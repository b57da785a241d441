"""Makes a teacher from images alone, by MoCo v3."""

import functools

import keras

from pcd_tf import data, teachers
from pcd_tf.backbones.resnet import zero_init_residual
from pcd_tf.configs.pretrain import Config
from pcd_tf.jobs import _training as training
from pcd_tf.jobs._command import command
from pcd_tf.models import MoCoV3
from pcd_tf.schedules import cosine_momentum
from pcd_tf.training import devices, optimizer


def run(config: Config) -> None:
    """Pre-trains a teacher; it ends in WORKDIR/teacher, for `distill --teacher_checkpoint`.

    Raises:
        UserError: when the settings, the images or the workdir do not fit; before any long work;
            when the loss is not finite; the last checkpoint is from before.

    Example:
        run(Config(workdir="runs/teacher", dataset="folder", data_dir="photographs"))
    """
    directory, strategy, source = training.begin("pretrain", config)
    total_steps = config.total_steps(source.num_examples)

    with strategy.scope():
        learner = teachers.build(config.teacher)
        zero_init_residual(learner.backbone)
        teacher = teachers.build(config.teacher)  # the momentum encoder becomes the teacher
        model = MoCoV3(
            _encoder(learner),
            _encoder(teacher),
            mean=teacher.mean,
            std=teacher.std,
            temperature=config.temperature,
            momentum=functools.partial(_momentum, config.encoder_momentum, total_steps),
            hidden_units=teacher.hidden_units,
        )
        model.compile(
            optimizer=optimizer.build(config, source.num_examples),
            jit_compile=devices.compiles(strategy),
        )

    training.describe(config, source, strategy, doing=f"Pre-trains {config.teacher} by MoCo v3.")
    directory.create(
        mean=teacher.mean,
        std=teacher.std,
        num_examples=source.num_examples,
        **data.identity(source),
        remarks={"left_out": source.left_out},
    )
    lines = training.fit(model, source, data.MOCO_V3, config, directory)

    teacher.origin = f"main.py pretrain, {total_steps} steps on {source.name}"
    teacher.save(directory.path / "teacher", overwrite=True)
    networks = {"teacher": lambda images: teacher((images - teacher.mean) / teacher.std)}
    chance = 1 / config.global_batch_size
    training.draw(directory, source, lines, networks, image_size=config.image_size, chance=chance)
    training.conclude(directory, source, lines, chance=chance)
    following = command(
        "distill",
        dataset=config.dataset,
        data_dir=config.data_dir,
        tfds_name=config.tfds_name,
        teacher_checkpoint=directory.path / "teacher",
        image_size=config.image_size,
        workdir="DIR",
    )
    print(f"  teacher   {directory.path / 'teacher'}\n  next      {following}")


def _encoder(teacher: teachers.Teacher) -> keras.Model:
    """Backbone, mean over pixels and head as one trainable model: (B, H, W, 3) -> (B, D)."""
    teacher.backbone.trainable = True
    teacher.head.trainable = True
    images = keras.Input((None, None, 3))
    pooled = keras.layers.GlobalAveragePooling2D(name="pool")(teacher.backbone(images))
    return keras.Model(images, teacher.head(pooled), name="encoder")


def _momentum(start: float, total_steps: int, step: keras.KerasTensor) -> keras.KerasTensor:
    return cosine_momentum(start, step, total_steps)
