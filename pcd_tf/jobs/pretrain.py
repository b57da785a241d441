"""Makes a teacher from images alone, by MoCo v3."""

import functools

import keras

from pcd_tf import data, teachers
from pcd_tf.configs.pretrain import Config
from pcd_tf.jobs import _training as training
from pcd_tf.models import MoCoV3
from pcd_tf.schedules import cosine_momentum
from pcd_tf.training import devices, optimizer, pictures
from pcd_tf.training.run_directory import RunDirectory


def run(config: Config) -> None:
    """Pre-trains a teacher; it ends in WORKDIR/teacher, for `distill --teacher_checkpoint`.

    Raises:
        ValueError: when the settings, the images or the workdir do not fit; before any long work.
        FloatingPointError: when the loss is not finite; the last checkpoint is from before.

    Example:
        run(Config(workdir="runs/teacher", dataset="folder", data_dir="photographs"))
    """
    config.validate()
    directory = RunDirectory(config.workdir, "pretrain", config)
    strategy = devices.strategy(config.strategy, num_virtual_devices=config.num_virtual_devices)
    devices.check_batch(strategy, config.global_batch_size)
    devices.set_precision(config.precision)
    keras.utils.set_random_seed(config.seed)
    source = training.open_source(config)
    total_steps = config.total_steps(source.num_examples)

    with strategy.scope():
        learner = teachers.build(config.teacher)
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
    directory.create(mean=teacher.mean, std=teacher.std)
    lines = training.fit(model, source, data.MOCO_V3, config, directory)

    teacher.origin = f"main.py pretrain, {total_steps} steps on {source.name}"
    teacher.save(directory.path / "teacher", overwrite=True)
    chance = 1 / config.global_batch_size
    pictures.draw_curves(lines, directory.pictures / "curves.png", chance=chance)
    networks = {"teacher": lambda images: teacher((images - teacher.mean) / teacher.std)}
    training.draw(
        directory, source, networks, image_size=training.PICTURE_SCALE * config.image_size
    )
    directory.finish(first=lines[0], last=lines[-1], num_skipped=source.num_skipped)
    _report(config, directory, lines, chance)


def _encoder(teacher: teachers.Teacher) -> keras.Model:
    """Backbone, mean over pixels and head as one trainable model: (B, H, W, 3) -> (B, D)."""
    teacher.backbone.trainable = True
    teacher.head.trainable = True
    images = keras.Input((None, None, 3))
    pooled = keras.layers.GlobalAveragePooling2D(name="pool")(teacher.backbone(images))
    return keras.Model(images, teacher.head(pooled), name="encoder")


def _momentum(start: float, total_steps: int, step: keras.KerasTensor) -> keras.KerasTensor:
    return cosine_momentum(start, step, total_steps)


def _report(
    config: Config, directory: RunDirectory, lines: list[dict[str, float]], chance: float
) -> None:
    first, last = lines[0], lines[-1]
    print(
        f"Done: loss {first['loss']:.3f} -> {last['loss']:.3f}, retrieval top-1 "
        f"{first['retrieval_top1']:.1%} -> {last['retrieval_top1']:.1%} (chance {chance:.2%}), "
        f"feature spread {last['feature_spread']:.2f} (0 would be a collapse).\n"
        f"  teacher   {directory.path / 'teacher'}\n"
        f"  pictures  {directory.pictures}\n"
        f"  next      main.py distill --teacher_checkpoint={directory.path / 'teacher'} "
        "--workdir=DIR"
    )
