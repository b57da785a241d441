"""The main job: distil a student from a teacher, pixel by pixel."""

from pcd_tf import atomic, data, students, teachers
from pcd_tf.configs.distill import Config
from pcd_tf.jobs import _training as training
from pcd_tf.models import Distiller
from pcd_tf.training import devices, optimizer


def run(config: Config) -> None:
    """Distils a student; its backbone ends in WORKDIR/student, a KerasHub preset.

    Raises:
        ValueError: when the settings, the images, the teacher or the workdir do not fit; before any
            long work.
        FloatingPointError: when the loss is not finite; the last checkpoint is from before.

    Example:
        run(Config(workdir="runs/student", teacher_checkpoint="runs/teacher/teacher"))
    """
    directory, strategy, source = training.begin("distill", config)

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
    directory.create(
        mean=teacher.mean,
        std=teacher.std,
        num_examples=source.num_examples,
        teacher_sha256=teacher.fingerprint(),
    )
    _warn_of_random_negatives(config, source)
    lines = training.fit(model, source, data.BYOL, config, directory)

    with atomic.directory(directory.path / "student", overwrite=True) as folder:
        students.save(student, folder)
    networks = {
        "teacher": lambda images: teacher((images - teacher.mean) / teacher.std),
        "student": lambda images: model((images - teacher.mean) / teacher.std),
    }
    training.conclude(
        directory,
        source,
        lines,
        networks,
        image_size=config.image_size,
        chance=1 / (1 + config.queue_size),
    )
    print(
        f"  student   {directory.path / 'student'}\n"
        f"  next      main.py export --workdir={config.workdir} --format=saved_model --out=DIR"
    )


def _warn_of_random_negatives(config: Config, source: data.Source) -> None:
    """Says so when the queue's random start is still in it at the end: those are too easy."""
    num_keys = config.total_steps(source.num_examples) * config.global_batch_size
    if num_keys < config.queue_size:
        print(
            f"Note: this run replaces {num_keys} of the {config.queue_size} negatives; the others "
            "stay random vectors, which are easily told from a teacher's: retrieval top-1 looks "
            "better than it is. A smaller --queue_size mends that."
        )
