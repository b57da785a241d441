"""`main.py finetune` on the command line."""

from flags.common import Job
from pcd_tf.configs.finetune import Config

JOB = Job(
    name="finetune",
    summary="Trains a detector or a segmenter from a student, and evaluates it.",
    example=(
        "--init=runs/student --model=retinanet --dataset=coco_json --data_dir=COCO "
        "--workdir=runs/detector"
    ),
    config_class=Config,
    runner="pcd_tf.jobs.finetune",
)
