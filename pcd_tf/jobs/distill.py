"""The main job: distil a student from a teacher, pixel by pixel."""

import keras

from pcd_tf import atomic, data, students, teachers
from pcd_tf.configs.distill import Config
from pcd_tf.jobs import _training as training
from pcd_tf.models import Distiller
from pcd_tf.training import devices, optimizer, pictures
from pcd_tf.training.run_directory import RunDirectory


def run(config: Config) -> None:
    """Distils a student; its backbone ends in WORKDIR/student, a KerasHub preset.

    Raises:
        ValueError: when the settings, the images, the teacher or the workdir do not fit; before any
            long work.
        FloatingPointError: when the loss is not finite; the last checkpoint is from before.

    Example:
        run(Config(workdir="runs/student", teacher_checkpoint="runs/teacher/teacher"))
    """
    config.validate()
    directory = RunDirectory(config.workdir, "distill", config)
    strategy = devices.strategy(config.strategy, num_virtual_devices=config.num_virtual_devices)
    devices.check_batch(strategy, config.global_batch_size)
    devices.set_precision(config.precision)
    keras.utils.set_random_seed(config.seed)
    source = training.open_source(config)

    with strategy.scope():
        teacher = teachers.load(config.teacher_checkpoint, config.teacher)
        student = students.build(config.student)
        model = Distiller(
            teacher,
            student,
            queue_size=config.queue_size,
            temperature=config.temperature,
            pairing=config.pairing,
            mhsa=config.mhsa,
            seed=config.seed,
        )
        model.compile(
            optimizer=optimizer.build(config, source.num_examples),
            jit_compile=devices.compiles(strategy),
        )

    training.describe(
        config, source, strategy, doing=f"Distils {config.student} from {teacher.name}."
    )
    directory.create(mean=teacher.mean, std=teacher.std)
    lines = training.fit(model, source, data.BYOL, config, directory)

    with atomic.directory(directory.path / "student", overwrite=True) as folder:
        student.save_to_preset(str(folder))
    chance = 1 / (1 + config.queue_size)
    pictures.draw_curves(lines, directory.pictures / "curves.png", chance=chance)
    networks = {
        "teacher": lambda images: teacher((images - teacher.mean) / teacher.std),
        "student": lambda images: model((images - teacher.mean) / teacher.std),
    }
    training.draw(
        directory, source, networks, image_size=training.PICTURE_SCALE * config.image_size
    )
    directory.finish(first=lines[0], last=lines[-1], num_skipped=source.num_skipped)
    _report(config, directory, lines, chance)


def _report(
    config: Config, directory: RunDirectory, lines: list[dict[str, float]], chance: float
) -> None:
    first, last = lines[0], lines[-1]
    print(
        f"Done: loss {first['loss']:.3f} -> {last['loss']:.3f}, retrieval top-1 "
        f"{first['retrieval_top1']:.1%} -> {last['retrieval_top1']:.1%} (chance {chance:.3%}), "
        f"feature spread {last['feature_spread']:.2f} (0 would be a collapse).\n"
        f"  student   {directory.path / 'student'}\n"
        f"  pictures  {directory.pictures}\n"
        f"  next      main.py export --workdir={config.workdir} --format=saved_model --out=DIR"
    )
