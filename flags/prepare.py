"""`main.py prepare` on the command line."""

from flags.common import Job
from pcd_tf.configs.prepare import Config

JOB = Job(
    name="prepare",
    summary="Checks images and packs them into few large files, to be read by --dataset=tfrecord.",
    example="--dataset=folder --data_dir=DIR --max_side=512 --workdir=runs/records",
    config_class=Config,
    runner="pcd_tf.jobs.prepare",
)
