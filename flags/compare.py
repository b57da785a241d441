"""`main.py compare` on the command line."""

from flags.common import Job
from pcd_tf.configs.compare import Config

JOB = Job(
    name="compare",
    summary="Says whether a student helps: the same fine-tuning from several inits and seeds.",
    example=(
        "--inits=random,runs/student --model=retinanet --dataset=coco_json --data_dir=COCO "
        "--workdir=runs/compare"
    ),
    config_class=Config,
    runner="pcd_tf.jobs.compare",
)
