"""How fast is a forward pass in each export format, relative to the Keras model?

Exports a randomly initialised student (speed does not depend on weights) in every format that is
installed, loads all, and runs them in turn in one process on the same images, so that what else the
machine does falls on all of them alike. Prints the median time, and the ratio to the Keras model
compiled by tf.function: the median over the rounds of the quotient within one; below 1 is faster.

    python benchmarks/export_formats.py --student=resnet18 --image_size=224 --out=formats.json
"""

import argparse
import contextlib
import io
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
KERAS = "keras"
VARIANTS = {
    "saved_model": ("saved_model", {}),
    "torchvision": ("torchvision", {}),
    "onnx": ("onnx", {}),
    "litert float32": ("litert", {}),
    "litert float16": ("litert", {"precision": "float16"}),
    "litert int8": ("litert", {"precision": "int8"}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Forward passes of the export formats.")
    parser.add_argument("--student", default="resnet18")
    parser.add_argument("--image_size", type=int, default=224, help="pixels a side")
    parser.add_argument("--batch_size", type=int, default=1, help="images at a time")
    parser.add_argument("--rounds", type=int, default=20, help="alternating rounds")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        passes, refused = prepare(args, Path(folder))
        seconds = time_alternately(passes, args.rounds)
    result = {
        "student": args.student,
        "image_size": args.image_size,
        "batch_size": args.batch_size,
        "rounds": args.rounds,
        "seconds": {name: statistics.median(values) for name, values in seconds.items()},
        "ratio_to_keras": ratios(seconds),
        "left_out": refused,
    }
    print(f"{args.student}, {args.batch_size} x {args.image_size} x {args.image_size} pixels")
    print(f"{'format':18}{'median ms':>10}{'ratio':>8}")
    for name, ratio in result["ratio_to_keras"].items():
        print(f"{name:18}{1000 * result['seconds'][name]:10.1f}{ratio:8.2f}")
    for name, reason in refused.items():
        print(f"{name:18}left out: {reason}")
    if args.out:
        args.out.write_text(json.dumps(result, indent=2) + "\n")


def prepare(
    args: argparse.Namespace, folder: Path
) -> tuple[dict[str, Callable[[], Any]], dict[str, str]]:
    """Forward passes by name, the Keras model first, and why others were left out."""
    import tensorflow as tf

    from export._images import Images
    from export._order import Order
    from pcd_tf import plugins, students

    settings = {"dataset": "synthetic"}
    student = students.Student(students.build(args.student), MEAN, STD, args.image_size, {})
    order = Order(student, Images.of(settings), args.batch_size, args.image_size, args.image_size)
    images = order.images.representative(args.batch_size, args.image_size, args.image_size)
    constant = tf.constant(images)
    compiled = tf.function(student.outputs)
    passes: dict[str, Callable[[], Any]] = {KERAS: lambda: compiled(constant)["embedding"].numpy()}
    left_out = {}
    for name, (format_name, changes) in VARIANTS.items():
        try:
            passes[name] = entrance(
                plugins.load("export", format_name), order, changes, folder / name, images
            )
        except (ImportError, ValueError) as error:
            left_out[name] = str(error)
    return passes, left_out


def entrance(
    chosen: Any, order: Any, changes: Mapping[str, Any], directory: Path, images: Any
) -> Callable[[], Any]:
    import dataclasses

    import numpy as np

    wanted = dataclasses.replace(order, **changes)
    directory.mkdir()
    with contextlib.redirect_stdout(io.StringIO()):
        chosen.write(wanted, directory)
    ask = next(iter(chosen.entrances(wanted, directory).values()))
    return lambda: np.asarray(ask(images)["embedding"])


def time_alternately(
    passes: Mapping[str, Callable[[], Any]], rounds: int
) -> dict[str, list[float]]:
    for forward in passes.values():
        forward()
        forward()
    seconds: dict[str, list[float]] = {name: [] for name in passes}
    for _ in range(rounds):
        for name, forward in passes.items():
            start = time.perf_counter()
            forward()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def ratios(seconds: Mapping[str, list[float]]) -> dict[str, float]:
    return {
        name: statistics.median(
            own / keras for own, keras in zip(values, seconds[KERAS], strict=True)
        )
        for name, values in seconds.items()
    }


if __name__ == "__main__":
    main()
