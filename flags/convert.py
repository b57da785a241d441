"""`main.py convert` on the command line."""

from flags.common import Job
from pcd_tf.configs.convert import Config

JOB = Job(
    name="convert",
    summary="Makes a teacher of a published checkpoint; it ends in WORKDIR/teacher.",
    example="--teacher=moco_v3_resnet50 --checkpoint=r-50-1000ep.pth.tar --workdir=runs/teacher",
    config_class=Config,
    runner="pcd_tf.jobs.convert",
)
