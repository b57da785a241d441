"""`main.py pretrain` on the command line."""

from flags.common import Job
from pcd_tf.configs.pretrain import Config

JOB = Job(
    name="pretrain",
    summary="Trains a teacher from images alone, by MoCo v3; it ends in WORKDIR/teacher.",
    example="--dataset=folder --data_dir=DIR --workdir=runs/teacher",
    config_class=Config,
    runner="pcd_tf.jobs.pretrain",
)
