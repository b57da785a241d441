"""Scores a frozen network by a probe."""

import dataclasses
import time
from importlib import metadata
from types import ModuleType
from typing import Any

import keras

from pcd_tf import __version__, atomic, data, inits, probes
from pcd_tf.configs.evaluate import Config
from pcd_tf.errors import UserError
from pcd_tf.training import devices

_PACKAGES = ("tensorflow", "keras", "keras-hub", "numpy", "scikit-learn")

_IMAGE_SIZE = 224  # pixels, where an init does not say: what published backbones are evaluated at


def run(config: Config) -> dict[str, float]:
    """Computes the scores, prints them, and writes them to --out where that is given.

    Returns:
        the probe's scores by name.

    Raises:
        UserError: when the settings, the network or the images do not fit the probe or one
            another; before any long work.

    Example:
        run(Config(probe="knn", init="runs/student", dataset="folder", data_dir="flowers"))
    """
    config.validate()
    device = devices.describe(devices.strategy("one_device"))
    keras.utils.set_random_seed(config.seed)
    probe = probes.load(config.probe)
    data.set_max_pixels(config.max_pixels)
    train, held_out = _sources(config, probe)
    init = inits.load(config.init, student=config.student)
    image_size = config.image_size or init.image_size or _IMAGE_SIZE
    network = probes.network(init.backbone, init.mean, init.std)
    images = f"{held_out.num_examples} of {held_out.name}, {image_size} px"
    if train is not None:
        images += f"; learns from {train.num_examples} of {train.name}"
    if probe.IMAGES != "maps":
        images += data.noted(train, held_out)
    print(
        f"Scores {config.init} ({init.kind}) by {config.probe}.\n"
        f"  images    {images}\n"
        f"  device    {device}",
        flush=True,
    )
    start = time.perf_counter()
    scores: dict[str, float] = probe.evaluate(
        network, train, held_out, image_size=image_size, batch_size=config.batch_size
    )
    seconds = time.perf_counter() - start
    print(f"Done in {seconds:.0f} s: " + ", ".join(f"{k} {v:.4g}" for k, v in scores.items()))
    if config.out is not None:
        content = {
            "scores": scores,
            "settings": dataclasses.asdict(config),
            "image_size": image_size,
            "init_kind": init.kind,
            "init_sha256": init.sha256,
            "mean": init.mean,
            "std": init.std,
            "normalisation": init.normalisation,
            "num_train": None if train is None else train.num_examples,
            "num_eval": held_out.num_examples,
            "left_out": {
                source.name: source.left_out
                for source in (train, held_out)
                if isinstance(source, data.Source)
            },
            "versions": {name: metadata.version(name) for name in _PACKAGES}
            | {"pcd_tf": __version__},
        }
        atomic.write_json(config.out, content)
        print(f"  out       {config.out}")
    return scores


def _sources(config: Config, probe: ModuleType) -> tuple[Any, Any]:
    """Opens what the probe reads: training images or None, and those to be scored.

    Raises:
        UserError: when the dataset has no such labels, or its splits differ in their classes; when
            there is no such folder.
    """
    names = data.names("segmented" if probe.IMAGES == "maps" else "images")
    if config.dataset not in names:
        raise UserError(
            f"dataset: {config.probe} takes {', '.join(names)}. Received: {config.dataset}."
        )
    if probe.IMAGES == "any":
        return None, _images(config, config.eval_split)
    if config.train_split == config.eval_split:
        raise UserError(
            "eval_split: expected other images than the probe learns from. Received: "
            f"{config.eval_split!r} for both. Give two splits."
        )
    splits = (config.train_split, config.eval_split)
    if probe.IMAGES == "maps":
        return data.build_segmented_two(
            config.dataset, splits, data_dir=config.data_dir, seed=config.seed
        )
    train, held_out = (_images(config, split) for split in splits)
    if probe.IMAGES == "labelled":
        if config.dataset == "synthetic":
            raise UserError(
                "dataset: the synthetic images have several objects each, so no class of their "
                f"own. Received: synthetic for {config.probe}. Use --dataset=folder, or "
                "--probe=linear_dense."
            )
        probes.check_classes(train, held_out)
    return train, held_out


def _images(config: Config, split: str) -> data.Source:
    directory = config.data_dir
    if config.dataset == "folder" and directory is not None:
        directory = ",".join(str(root / split) for root in data.directories(directory))
    return data.build(
        config.dataset,
        data_dir=directory,
        tfds_name=config.tfds_name,
        split=split,
        seed=config.seed,
    )
