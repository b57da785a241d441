"""What oneDNN is worth in training on a CPU: the gradient of ResNet-18, with it and without.

    python benchmarks/onednn.py --out=onednn.json

Prints the seconds of one gradient, the median over alternating processes, and their ratio.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

SIZES = (64, 96)  # pixels a side
NUM_IMAGES = 128
NUM_ROUNDS = 2  # processes of each kind, alternating
_ROOT = Path(__file__).resolve().parents[1]
_TIMED = f"""
import time
import tensorflow as tf
from pcd_tf import students

backbone = students.build("resnet18")

@tf.function
def gradient(images):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(backbone(images, training=True) ** 2)
    return [tf.reduce_sum(x) for x in tape.gradient(loss, backbone.trainable_variables)]

for size in {SIZES}:
    images = tf.random.normal(({NUM_IMAGES}, size, size, 3))
    gradient(images)
    start = time.perf_counter()
    for _ in range(3):
        gradient(images)
    print((time.perf_counter() - start) / 3)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    seconds: dict[str, list[list[float]]] = {"1": [], "0": []}
    for _ in range(NUM_ROUNDS):
        for flag, rounds in seconds.items():
            rounds.append(timed(flag))
    rows = [
        {
            "image_size": size,
            "with": statistics.median(one[place] for one in seconds["1"]),
            "without": statistics.median(one[place] for one in seconds["0"]),
        }
        for place, size in enumerate(SIZES)
    ]
    for row in rows:
        ratio = row["with"] / row["without"]
        print(
            f"{row['image_size']} px: {row['with']:.2f} s with oneDNN, {row['without']:.2f} s "
            f"without: {ratio:.2f} of the time"
        )
    if arguments.out:
        arguments.out.write_text(json.dumps(rows, indent=2) + "\n")


def timed(flag: str) -> list[float]:
    """Seconds of a gradient at each size, in a process of its own."""
    environment = {
        **os.environ,
        "TF_ENABLE_ONEDNN_OPTS": flag,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONPATH": str(_ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-c", _TIMED], env=environment, capture_output=True, text=True, check=True
    )
    return [float(line) for line in done.stdout.split()]


if __name__ == "__main__":
    main()
