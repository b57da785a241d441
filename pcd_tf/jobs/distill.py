"""The main job: distil a student from a teacher, pixel by pixel."""

import functools
from collections.abc import Callable
from typing import Any

import keras

from pcd_tf import atomic, data, students, teachers
from pcd_tf.configs.distill import Config
from pcd_tf.jobs import _conversion
from pcd_tf.jobs import _training as training
from pcd_tf.jobs._command import command
from pcd_tf.jobs._student_evaluation import StudentEvaluation
from pcd_tf.models import Distiller
from pcd_tf.resampling import resize_map
from pcd_tf.training import devices, optimizer, receptive_field, tensorboard_images
from pcd_tf.training.run_directory import RunDirectory

# Pixels of a map in a picture: more can hardly be told apart, and a ViT's memory grows with their
# square.
_MOST_PIXELS = 32 * 32
_NUM_FIELD_IMAGES = 12  # that an effective receptive field is averaged over


def run(config: Config) -> None:
    """Distils a student; its backbone ends in WORKDIR/student.

    Raises:
        UserError: when the settings, the images, the teacher or the workdir do not fit; before any
            long work; when the loss is not finite; the last checkpoint is from before.

    Example:
        run(Config(workdir="runs/student", teacher_checkpoint="runs/teacher/teacher"))
    """
    directory, strategy, source = training.begin("distill", config)

    with strategy.scope():
        teacher = _teacher(config).with_gates(config.teacher_head_gates)
        student = students.build(config.student, **config.student_options)
        start = _initialise(student, config.student_init)
        model = Distiller(
            teacher,
            student,
            queue_size=config.queue_size,
            temperature=config.temperature,
            objective=config.objective,
            pairing=config.pairing,
            map_size=config.map_size,
            mhsa=config.mhsa,
            seed=config.seed,
        )
        model.compile(
            optimizer=optimizer.build(config, source.num_examples),
            jit_compile=devices.compiles(strategy),
        )

    evaluation = None
    if config.eval_every_epochs is not None:
        evaluation = StudentEvaluation(config, student, teacher, source, directory)
    training.describe(config, source, strategy, doing=_what(config, model))
    if evaluation is not None:
        print(evaluation.describe(), flush=True)
    networks = _networks(config, model)
    directory.create(
        mean=teacher.mean,
        std=teacher.std,
        num_examples=source.num_examples,
        teacher_origin=teacher.origin,
        **data.identity(source),
        teacher_sha256=teacher.fingerprint(),
        remarks={
            "left_out": source.left_out,
            "eval_left_out": {} if evaluation is None else evaluation.left_out,
        },
        **start,
    )
    _warn_of_random_negatives(config, source)
    lines = training.fit(model, source, data.BYOL, config, directory, evaluation)

    if evaluation is None:
        best = None
        with atomic.directory(directory.path / "student", overwrite=True) as folder:
            students.save(student, folder)
    else:
        best = evaluation.keep_best()
    chance = 1 / (1 + config.queue_size)
    training.draw(directory, source, lines, networks, image_size=config.image_size, chance=chance)
    _draw_receptive_fields(config, model, source, directory)
    for picture in sorted(directory.pictures.glob("*.png")):
        tensorboard_images.show(picture, directory.tensorboard, step=int(lines[-1]["step"]))
    training.conclude(directory, source, lines, chance=chance, best=best)
    if best is not None and best["step"] is not None:
        kept = f"{best['metric']} {best['value']:.4g} at step {best['step']}"
        print(f"  best      {kept}; the pictures show the last one")
    following = command("export", workdir=config.workdir, format="saved_model", out="DIR")
    print(f"  student   {directory.path / 'student'}\n  next      {following}")


def _teacher(config: Config) -> teachers.Teacher:
    """Loads the teacher, or converts it when it is no teacher's directory."""
    path, name = config.teacher_checkpoint, config.teacher
    if name is None or teachers.is_saved(path):
        return teachers.load(path, name)
    return _conversion.convert(name, path, config.teacher_options)


def _initialise(student: keras.Model, path: str) -> dict[str, str]:
    """Sets the weights to start from, and returns what config.json keeps of them."""
    return {} if path == "random" else {"student_init_sha256": students.initialise(student, path)}


def _what(config: Config, model: Distiller) -> str:
    """Says what is about to happen; refuses an image size that does not fit."""
    sizes = model.map_sizes(config.image_size)
    pixels = {name: f"{height} x {width}" for name, (height, width) in sizes.items()}
    return (
        f"Distils {config.student} ({pixels['student']} pixels of a map) from "
        f"{model.teacher.name} ({pixels['teacher']}), compared at {pixels[config.map_size]}."
    )


def _networks(config: Config, model: Distiller) -> dict[str, Callable[[Any], Any]]:
    """What the pictures show: both maps of images of 0..255, at one size.

    One image at a time, for memory.
    """
    teacher = model.teacher
    size = _picture_size(config, model)
    shown = model.map_sizes(size)[config.map_size]

    def embed(network: Callable[[Any], Any], images: Any) -> Any:
        if images.shape[1] != size:
            images = keras.ops.image.resize(images.astype("float32"), (size, size), antialias=True)
        maps = [network((image[None] - teacher.mean) / teacher.std) for image in images]
        return resize_map(keras.ops.concatenate(maps), shown)

    return {
        "teacher": functools.partial(embed, teacher),
        "student": functools.partial(embed, model),
    }


def _draw_receptive_fields(
    config: Config, model: Distiller, source: data.Source, directory: RunDirectory
) -> None:
    """Draws how far the centre of the student's map looks, with MHSA and without."""
    size = _picture_size(config, model)
    indices = source.examples_to_show(_NUM_FIELD_IMAGES)
    images = data.plain_images(source, image_size=size, indices=indices)
    normalised = (images.astype("float32") - model.teacher.mean) / model.teacher.std
    fields = {"backbone": receptive_field.input_gradient(model.backbone, normalised)}
    if config.mhsa:
        fields["backbone and MHSA"] = receptive_field.input_gradient(
            lambda x: model.mhsa(model.backbone(x)), normalised
        )
    receptive_field.draw(fields, directory.pictures / "receptive_field.png")


def _picture_size(config: Config, model: Distiller) -> int:
    """Returns the largest size for pictures that both networks take, with maps of few pixels."""
    if not (model.teacher.backbone.input_shape[1] or model.backbone.input_shape[1]):
        for scale in (training.PICTURE_SCALE, 2):
            try:
                sizes = model.map_sizes(scale * config.image_size)
            except ValueError:
                continue
            if all(height * width <= _MOST_PIXELS for height, width in sizes.values()):
                return scale * config.image_size
    return config.image_size


def _warn_of_random_negatives(config: Config, source: data.Source) -> None:
    """Says so when the queue's random start is still in it at the end: those are too easy."""
    num_keys = config.total_steps(source.num_examples) * config.global_batch_size
    if num_keys < config.queue_size:
        print(
            f"Note: this run replaces {num_keys} of the {config.queue_size} negatives; the others "
            "stay random vectors, which are easily told from a teacher's: retrieval top-1 looks "
            "better than it is. A smaller --queue_size mends that."
        )
