"""`main.py evaluate` on the command line."""

from flags.common import Job
from pcd_tf.configs.evaluate import Config

JOB = Job(
    name="evaluate",
    summary="Scores a frozen network by a probe: k-NN, linear, linear on maps, pixel retrieval.",
    example=("--probe=knn --init=runs/student --dataset=folder --data_dir=DIR --out=knn.json"),
    config_class=Config,
    runner="pcd_tf.jobs.evaluate",
)
