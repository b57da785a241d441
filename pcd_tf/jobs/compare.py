"""Says whether a backbone helps: the same fine-tuning from several inits, with several seeds."""

import dataclasses
import gc
import json
from pathlib import Path
from typing import Any

import keras

from pcd_tf import inits
from pcd_tf.configs.compare import Config
from pcd_tf.configs.finetune import Config as FinetuneConfig
from pcd_tf.jobs import _comparison as comparison
from pcd_tf.jobs import finetune
from pcd_tf.training import logs


def run(config: Config) -> None:
    """Fine-tunes from each init with each seed; what comes out stands in WORKDIR/comparison.json.

    Runs of one seed differ in nothing but the backbone's weights: the heads start alike, and the
    images come in the same order with the same augmentation. Finished runs are not repeated.

    Raises:
        ValueError: when the settings, the labels or an init do not fit.

    Example:
        run(Config(inits="random,runs/student", workdir="runs/compare", dataset="voc", ...))
    """
    config.validate()
    for name in config.names:
        inits.kind(name)  # refuses what is none, before anything long
    workdir = Path(config.workdir)
    labels = _labels(config.names)
    runs: dict[str, list[comparison.Run]] = {name: [] for name in config.names}
    total = config.seeds * len(config.names)
    # Seed by seed, so that an interrupted comparison has whole rows.
    for seed in range(config.seed, config.seed + config.seeds):
        for name in config.names:
            folder = workdir / labels[name] / f"seed_{seed}"
            done = sum(len(of_init) for of_init in runs.values())
            print(f"\nRun {done + 1} of {total}: {name}, seed {seed}", flush=True)
            runs[name].append(_one(config, name, seed, folder))
    metric = next(iter(runs.values()))[0].metric
    result = comparison.compare(runs, metric)
    text = comparison.table(result)
    workdir.joinpath("comparison.json").write_text(
        json.dumps({"settings": dataclasses.asdict(config), **result}, indent=2) + "\n"
    )
    workdir.joinpath("comparison.md").write_text(text + "\n")
    comparison.draw(runs, metric, workdir / "comparison.png")
    print(f"\n{text}\n\n  written   {workdir}/comparison.json, .md, .png")


def _one(config: Config, name: str, seed: int, folder: Path) -> comparison.Run:
    """Fine-tunes once, unless that is done already."""
    results = folder / finetune.RESULTS
    if results.is_file():
        print(f"  finished already: {results}")
    else:
        shared = {
            field.name: getattr(config, field.name)
            for field in dataclasses.fields(FinetuneConfig)
            if hasattr(config, field.name)
        }
        chosen = {**shared, "init": name, "seed": seed, "workdir": str(folder), "export": False}
        finetune.run(FinetuneConfig(**chosen))
        keras.backend.clear_session()
        gc.collect()
    content: dict[str, Any] = json.loads(results.read_text())
    settings = json.loads((folder / "config.json").read_text())["settings"]
    different = [
        field.name
        for field in dataclasses.fields(Config)
        if field.name in settings
        and field.name not in ("workdir", "seed")
        and settings[field.name] != getattr(config, field.name)
    ]
    if different:
        raise ValueError(
            f"Expected the runs of this comparison in {config.workdir}. Received: {folder}, with "
            f"other {', '.join(different)}. Name another --workdir."
        )
    return comparison.Run(
        seed=seed,
        metric=content["metric"],
        scores={key: value for key, value in content.items() if isinstance(value, float)},
        evaluations=logs.read(folder / "evaluations.jsonl"),
    )


def _labels(names: tuple[str, ...]) -> dict[str, str]:
    """A folder name for each init: its last parts, as many as tell them apart."""
    parts = {name: [part for part in name.replace(":", "/").split("/") if part] for name in names}
    for count in range(1, max(len(of_name) for of_name in parts.values()) + 1):
        labels = {name: "_".join(of_name[-count:]) for name, of_name in parts.items()}
        if len(set(labels.values())) == len(labels):
            break
    return labels
