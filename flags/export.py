"""`main.py export` on the command line."""

from flags.common import Job
from pcd_tf.configs.export import Config

JOB = Job(
    name="export",
    summary="Writes a distilled student in a format for use elsewhere.",
    example="--workdir=runs/student --format=saved_model --out=runs/saved_model",
    config_class=Config,
    runner="export",
)
