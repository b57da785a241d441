"""Published layouts at full size: how far is a converted teacher from the same network in PyTorch?

    python benchmarks/teacher_parity.py [--teachers=swav_resnet50,dino_vit_s16 --out=parity.json]

For each layout: a PyTorch model with the true names and random weights, statistics and biases is
saved as its authors save theirs, and converted; then both see the same images. Shown are the
largest relative errors (largest difference by largest absolute value) of the feature map, its mean
over the pixels, the head's output of that mean, and the mean over pixels of the teacher's map
against that output (the invariance); the seconds of the conversion; the size of the file. Needs
PyTorch.
"""

import argparse
import gc
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import keras
import numpy as np

from pcd_tf import teachers
from tests import goldens

TOLERANCE = 1e-4  # what a conversion has to keep to
COLUMNS = ("map", "pooled", "head", "invariance")


def main() -> int:
    parser = argparse.ArgumentParser(description="Converted teachers against PyTorch.")
    parser.add_argument("--teachers", help="names with commas; all published layouts by default")
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    args = parser.parse_args()
    references = models()
    names = args.teachers.split(",") if args.teachers else sorted(references)
    images = goldens.images((args.images, args.image_size, args.image_size, 3))

    titles = (*COLUMNS, "seconds", "MB")
    print(f"{'layout':24}" + "".join(f"{title:>12}" for title in titles))
    results = {}
    for name in names:
        result = results[name] = compare(name, references[name], images)
        errors = "".join(f"{result[column]:12.1e}" for column in COLUMNS)
        print(f"{name:24}{errors}{result['seconds']:12.1f}{result['megabytes']:12.0f}", flush=True)
    worst = max(result[column] for result in results.values() for column in COLUMNS)
    print(f"largest of all {worst:.1e}, tolerance {TOLERANCE:.0e}")
    if args.out:
        args.out.write_text(json.dumps({"image_shape": images.shape, "layouts": results}, indent=2))
    return 0 if worst < TOLERANCE else 1


def models() -> dict[str, Any]:
    """The published layouts, each with a function that makes its model in PyTorch."""
    from tests import torch_models, torch_vit

    return torch_models.FULL_SIZE | torch_vit.FULL


def compare(name: str, make: Any, images: Any) -> dict[str, float]:
    import torch

    reference = make()
    expected = reference.outputs(images)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "checkpoint.pth.tar"
        torch.save(reference.checkpoint, file)
        del reference
        gc.collect()
        megabytes = file.stat().st_size / 1e6
        start = time.perf_counter()
        teacher = teachers.convert(name, file)
        seconds = time.perf_counter() - start
    maps = teacher.backbone(images, training=False)
    pooled = keras.ops.mean(maps, axis=(1, 2))
    received = {
        "map": maps,
        "pooled": pooled,
        "head": teacher.head(pooled, training=False),
        "invariance": keras.ops.mean(teacher(images), axis=(1, 2)),
    }
    expected["invariance"] = expected["head"]
    errors = {
        column: goldens.relative_error(np.asarray(received[column]), expected[column])
        for column in COLUMNS
    }
    return {**errors, "seconds": seconds, "megabytes": megabytes}


if __name__ == "__main__":
    sys.exit(main())
