"""Makes a teacher of a published checkpoint."""

from pcd_tf.configs.convert import Config
from pcd_tf.jobs import _conversion
from pcd_tf.jobs._command import command
from pcd_tf.training.run_directory import RunDirectory


def run(config: Config) -> None:
    """Converts a teacher; it ends in WORKDIR/teacher, for `distill --teacher_checkpoint`.

    Raises:
        UserError: when the settings, the workdir or the checkpoint do not fit; nothing is written
            then.

    Example:
        run(Config(teacher="swav_resnet50", checkpoint="swav.pth.tar", workdir="runs/swav"))
    """
    config.validate()
    directory = RunDirectory(config.workdir, "convert", config)
    teacher = _conversion.convert(config.teacher, config.checkpoint, config.teacher_options)

    fingerprint = teacher.fingerprint()
    directory.create(
        mean=teacher.mean,
        std=teacher.std,
        teacher_origin=teacher.origin,
        teacher_sha256=fingerprint,
    )
    teacher.save(directory.path / "teacher", overwrite=True)
    directory.finish(teacher_sha256=fingerprint)
    following = command(
        "distill",
        dataset="folder",
        data_dir="PHOTOS",
        teacher_checkpoint=directory.path / "teacher",
        workdir="DIR",
    )
    print(f"  teacher     {directory.path / 'teacher'}\n  next        {following}")
