"""`main.py embed` on the command line."""

from flags.common import Job
from pcd_tf.configs.embed import Config

JOB = Job(
    name="embed",
    summary="Computes the embedding of every image, with file names, into one file.",
    example="--dataset=folder --data_dir=DIR --model=runs/student --out=embeddings.npz",
    config_class=Config,
    runner="pcd_tf.jobs.embed",
)
