"""Teacher and student of two strides: whose map should keep its size?

    python benchmarks/map_size.py --data_dir=FLOWERS [--pixels_dir=VOC] [--seeds=2 --steps=200]

FLOWERS holds train/CLASS/* and val/CLASS/*; VOC holds train/*.jpg, train_sem/*.png and likewise
test, class ids in the PNGs. Small networks of strides 16 and 32. A teacher for each stride is
trained with the labels (a stand-in: nothing here is long enough for pre-training); a student of the
other stride is distilled from it without them, once for each `map_size` and seed, alternating.
Reported of the student's backbone: `images`, the accuracy of classes by the 20 nearest neighbours
of the pooled features; `pixels`, how well a linear function of the last map's pixels tells objects
from background (area under the ROC curve).
"""

import argparse
import itertools
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import keras
import numpy as np
from PIL import Image

from pcd_tf import data
from pcd_tf.models import Distiller
from pcd_tf.optimizers import LARS
from pcd_tf.schedules import warmup_cosine
from pcd_tf.teachers import Teacher

BATCH = 32
NUM_NEIGHBOURS = 20
METRICS = ("images", "pixels", "retrieval", "loss", "ms_a_step")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", type=Path, required=True, help="train/CLASS/*, val/CLASS/*")
    parser.add_argument("--pixels_dir", type=Path, help="train/*.jpg, train_sem/*.png, test...")
    parser.add_argument("--image_size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=200, help="of each distillation")
    parser.add_argument("--teacher_epochs", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    args = parser.parse_args()

    splits = {name: labelled(args.data_dir / name, args.image_size) for name in ("train", "val")}
    pixels = {
        name: segmented(args.pixels_dir, name, args.image_size)
        for name in ("train", "test")
        if args.pixels_dir
    }
    teachers = {}
    for stride in (32, 16):
        teachers[stride] = pretrained(stride, *splits["train"], args.teacher_epochs)
        report(f"teacher, stride {stride}", quality(teachers[stride].backbone, splits, pixels))
    runs: dict[str, list[dict[str, float]]] = {}
    pairs = ((32, 16), (16, 32))  # strides of teacher and student
    for seed, (of_teacher, of_student) in itertools.product(range(args.seeds), pairs):
        for map_size in ("student", "teacher"):
            title = f"teacher {of_teacher}, student {of_student}, map_size={map_size}"
            made = distilled(teachers[of_teacher], of_student, map_size, seed, args)
            made[1].update(quality(made[0], splits, pixels))
            runs.setdefault(title, []).append(made[1])
            report(f"{title}, seed {seed}", made[1])
    print(f"\nmean over {args.seeds} seeds (largest - smallest)")
    for title, results in runs.items():
        columns = {name: [result[name] for result in results] for name in results[0]}
        spread = ", ".join(
            f"{name} {statistics.mean(column):.3f} ({max(column) - min(column):.3f})"
            for name, column in columns.items()
        )
        print(f"{title}: {spread}")
    if args.out:
        args.out.write_text(json.dumps(runs, indent=2) + "\n")


def report(title: str, result: dict[str, float]) -> None:
    values = ", ".join(f"{name} {result[name]:.3f}" for name in METRICS if name in result)
    print(f"{title}: {values}", flush=True)


def network(stride: int) -> Any:
    """Patches of 4 pixels, six convolutions: (B, S, S, 3) -> (B, S / stride, S / stride, 192)."""
    images = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(32, 4, 4)(images)
    for width, first in ((64, 2), (128, 2), (192, stride // 16)):
        for step in (first, 1):
            x = keras.layers.Conv2D(width, 3, step, padding="same", use_bias=False)(x)
            x = keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.9)(x))
    return keras.Model(images, x)


def pretrained(stride: int, images: Any, labels: Any, num_epochs: int) -> Teacher:
    keras.utils.set_random_seed(stride)
    backbone = network(stride)
    layers = [
        keras.layers.Dense(384, use_bias=False),
        keras.layers.BatchNormalization(),
        keras.layers.ReLU(),
        keras.layers.Dense(64),
    ]
    head = keras.Sequential([keras.Input((backbone.output_shape[-1],)), *layers], name="head")
    teacher = Teacher("benchmark", backbone, head)
    backbone.trainable = head.trainable = True
    inputs = keras.Input((None, None, 3))
    x = keras.layers.RandomFlip("horizontal")(inputs)
    x = keras.layers.GlobalAveragePooling2D()(backbone(normalised(teacher, x)))
    x = keras.layers.Dense(int(labels.max()) + 1)(keras.layers.ReLU()(head(x)))
    model = keras.Model(inputs, x)
    model.compile(
        keras.optimizers.AdamW(2e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    model.fit(images, labels, batch_size=BATCH, epochs=num_epochs, verbose=0)
    backbone.trainable = head.trainable = False
    return teacher


def normalised(teacher: Teacher, images: Any) -> Any:
    return (images - np.array(teacher.mean, "float32")) / np.array(teacher.std, "float32")


def distilled(
    teacher: Teacher, stride: int, map_size: str, seed: int, args: argparse.Namespace
) -> tuple[Any, dict[str, float]]:
    """Distils a student; returns its backbone and the mean of the last tenth of the steps."""
    keras.utils.set_random_seed(seed)
    model = Distiller(teacher, network(stride), queue_size=2048, map_size=map_size, seed=seed)
    model.compile(LARS(warmup_cosine(1.5, args.steps // 10, args.steps)))
    source = data.build("folder", data_dir=str(args.data_dir / "train"))
    views = data.two_views(
        source, data.BYOL, image_size=args.image_size, global_batch_size=BATCH, seed=seed
    )
    lines: list[dict[str, float]] = []
    times = [time.perf_counter()]

    def keep(_: int, logs: dict[str, float]) -> None:
        lines.append(dict(logs))
        times.append(time.perf_counter())

    callback = keras.callbacks.LambdaCallback(on_train_batch_end=keep)
    model.fit(views, steps_per_epoch=args.steps, shuffle=False, verbose=0, callbacks=[callback])
    last = lines[-max(1, args.steps // 10) :]
    return model.backbone, {
        "retrieval": statistics.mean(line["retrieval_top1"] for line in last),
        "loss": statistics.mean(line["loss"] for line in last),
        "ms_a_step": 1000 * statistics.median(np.diff(times)),
    }


def quality(backbone: Any, splits: dict[str, Any], pixels: dict[str, Any]) -> dict[str, float]:
    maps = {name: features(backbone, images) for name, (images, _) in splits.items()}
    pooled = {name: values.mean(axis=(1, 2)) for name, values in maps.items()}
    labels = {name: labels for name, (_, labels) in splits.items()}
    result = {"images": accuracy(pooled["train"], labels["train"], pooled["val"], labels["val"])}
    if pixels:
        result["pixels"] = object_detection(backbone, pixels)
    return result


def features(backbone: Any, images: Any) -> Any:
    mean, std = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
    return backbone.predict(((images - mean) / std).astype("float32"), batch_size=64, verbose=0)


def object_detection(backbone: Any, pixels: dict[str, Any]) -> float:
    """How well a linear function of a map's pixel tells objects from background: area under ROC."""
    cells = {name: labelled_cells(backbone, *arrays) for name, arrays in pixels.items()}
    x, y = cells["train"]
    mean, std = x.mean(axis=0), x.std(axis=0) + 1e-6
    x = (x - mean) / std
    weights = np.linalg.solve(x.T @ x + len(x) * 1e-2 * np.eye(x.shape[1]), x.T @ (y - y.mean()))
    x, y = cells["test"]
    ranks = np.argsort(np.argsort(((x - mean) / std) @ weights))
    return float((ranks[y].mean() - (y.sum() - 1) / 2) / (~y).sum())


def labelled_cells(backbone: Any, images: Any, classes: Any) -> tuple[Any, Any]:
    """Pixels of the map, (N, C), and whether an object is in their middle, (N,)."""
    maps = features(backbone, images)
    part = classes.shape[1] // maps.shape[1]
    middle = classes[:, part // 2 :: part, part // 2 :: part]  # [n, h, w]
    return maps[middle < 255], middle[middle < 255] > 0


def accuracy(known: Any, labels: Any, asked: Any, truth: Any) -> float:
    """Share of the queries whose class is that of most of the nearest by cosine."""
    known, asked = (x / (np.linalg.norm(x, axis=-1, keepdims=True) + 1e-9) for x in (known, asked))
    found = []
    for block in np.array_split(asked, max(1, len(asked) // 1000)):
        nearest = np.argpartition(-(block @ known.T), NUM_NEIGHBOURS)[:, :NUM_NEIGHBOURS]
        found += [np.bincount(votes).argmax() for votes in labels[nearest]]
    return float(np.mean(np.array(found) == truth))


def labelled(folder: Path, image_size: int) -> tuple[Any, Any]:
    """Images uint8 (N, S, S, 3) and class numbers (N,)."""
    classes = sorted(path.name for path in folder.iterdir() if path.is_dir())
    files = [(file, i) for i, name in enumerate(classes) for file in (folder / name).iterdir()]
    images = [square(Image.open(file).convert("RGB"), image_size) for file, _ in files]
    return np.stack(images), np.array([i for _, i in files])


def segmented(folder: Path, split: str, image_size: int) -> tuple[Any, Any]:
    """Images uint8 (N, S, S, 3) and classes of their pixels uint8 (N, S, S)."""
    files = sorted((folder / split).glob("*.jpg"))
    maps = [folder / f"{split}_sem" / f"{file.stem}.png" for file in files]
    images = np.stack([square(Image.open(file).convert("RGB"), image_size) for file in files])
    return images, np.stack([square(Image.open(file), image_size, nearest=True) for file in maps])


def square(image: Image.Image, side: int, *, nearest: bool = False) -> Any:
    """The largest square in the middle, resized."""
    short = min(image.size)
    left, top = ((length - short) // 2 for length in image.size)
    how = Image.Resampling.NEAREST if nearest else Image.Resampling.BICUBIC
    return np.asarray(image.resize((side, side), how, (left, top, left + short, top + short)))


if __name__ == "__main__":
    main()
