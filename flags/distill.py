"""`main.py distill` on the command line."""

from flags.common import Job
from pcd_tf.configs.distill import Config

JOB = Job(
    name="distill",
    summary="Distils a student from a teacher, pixel by pixel; it ends in WORKDIR/student.",
    example=(
        "--dataset=folder --data_dir=DIR --teacher_checkpoint=runs/teacher/teacher "
        "--workdir=runs/student"
    ),
    config_class=Config,
    runner="pcd_tf.jobs.distill",
)
