"""Plain against streamed pixel contrastive loss: time and extra peak memory.

    python benchmarks/loss_memory.py [--pixels=1568 --negatives=65536 --dim=256 --rounds=5]

Both forms compute value and gradient. Runs alternate within one process, so that a noisy machine
disturbs both alike, and the ratio of the medians is reported. Peak memory is measured in one fresh
process for each form (the high-water mark of the process less what it was before the first call).
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

TEMPERATURE = 0.2


def main() -> None:
    parser = argparse.ArgumentParser(description="Plain against streamed pixel contrastive loss.")
    parser.add_argument("--pixels", type=int, default=1568, help="7 x 7 pixels of 32 images")
    parser.add_argument("--negatives", type=int, default=65536)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5, help="alternating rounds")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--memory_of", choices=["plain", "streamed"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.memory_of:
        print(json.dumps(peak_memory(args)))
        return

    # Memory first: a child's high-water mark starts at its parent's, which must still be small.
    memory = {form: memory_in_fresh_process(form) for form in ("plain", "streamed")}
    seconds = time_alternately(args)
    result = {
        "pixels": args.pixels,
        "negatives": args.negatives,
        "dim": args.dim,
        "seconds": seconds,
        "time_ratio": seconds["streamed"] / seconds["plain"],
        "extra_peak_mb": memory,
        "memory_ratio": memory["streamed"] / memory["plain"],
    }
    print(f"{args.pixels} pixels x {args.negatives} negatives x {args.dim}, value and gradient")
    print(f"{'form':10}{'median s':>10}{'extra peak MB':>16}")
    for form in ("plain", "streamed"):
        print(f"{form:10}{seconds[form]:10.3f}{memory[form]:16.0f}")
    print(f"{'ratio':10}{result['time_ratio']:10.2f}{result['memory_ratio']:16.2f}")
    if args.out:
        args.out.write_text(json.dumps(result, indent=2) + "\n")


def time_alternately(args: argparse.Namespace) -> dict[str, float]:
    steps, inputs = forms(), arrays(args)
    for step in steps.values():
        step(*inputs)
    seconds: dict[str, list[float]] = {form: [] for form in steps}
    for _ in range(args.rounds):
        for form, step in steps.items():
            start = time.perf_counter()
            step(*inputs)[1].numpy()
            seconds[form].append(time.perf_counter() - start)
    return {form: statistics.median(values) for form, values in seconds.items()}


def memory_in_fresh_process(form: str) -> float:
    """Extra peak memory of one form, in MB; each form needs its own process high-water mark."""
    command = [sys.executable, *sys.argv, f"--memory_of={form}"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(json.loads(output))


def peak_memory(args: argparse.Namespace) -> float:
    inputs = arrays(args)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    forms()[args.memory_of](*inputs)[1].numpy()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def arrays(args: argparse.Namespace) -> tuple[Any, Any, Any]:
    import keras

    maps = (1, 1, args.pixels, args.dim)
    return (
        keras.random.normal(maps, seed=0),
        keras.random.normal(maps, seed=1),
        keras.random.normal((args.negatives, args.dim), seed=2),
    )


def forms() -> dict[str, Callable[..., tuple[Any, Any]]]:
    """The two forms as compiled steps that return the values and the student's gradient."""
    import tensorflow as tf
    from keras import ops

    from pcd_tf.losses import PixelContrastiveLoss

    def plain(student: Any, teacher: Any, negatives: Any) -> Any:
        s, t, n = (ops.normalize(x, axis=-1) for x in (student, teacher, negatives))
        positive = ops.sum(s * t, axis=-1, keepdims=True)  # [1, 1, P, 1]
        logits = ops.concatenate([positive, ops.matmul(s, ops.transpose(n))], axis=-1) / TEMPERATURE
        return ops.logsumexp(logits, axis=-1) - logits[..., 0]

    def step(loss: Callable[..., Any]) -> Callable[..., tuple[Any, Any]]:
        @tf.function
        def run(student: Any, teacher: Any, negatives: Any) -> tuple[Any, Any]:
            with tf.GradientTape() as tape:
                tape.watch(student)
                values = loss(student, teacher, negatives)
            return values, tape.gradient(values, student)

        return run

    return {"plain": step(plain), "streamed": step(PixelContrastiveLoss(TEMPERATURE))}


if __name__ == "__main__":
    main()
