"""Says whether a backbone helps: the same fine-tuning from several inits, with several seeds."""

import dataclasses
import gc
from pathlib import Path
from typing import Annotated, Any

import keras
import msgspec

from pcd_tf import atomic, inits, records, run_config
from pcd_tf.configs.compare import Config
from pcd_tf.configs.finetune import Config as FinetuneConfig
from pcd_tf.errors import UserError
from pcd_tf.jobs import _comparison as comparison
from pcd_tf.jobs import finetune
from pcd_tf.training import logs
from pcd_tf.training.run_directory import FREE


class _Init(msgspec.Struct):
    """What a run of the comparison started from."""

    sha256: str


class _Result(msgspec.Struct):
    """What is read of its results.json, beside the scores."""

    metric: str
    init: _Init


class _Images(msgspec.Struct):
    """What is read of the facts in its config.json."""

    num_examples: Annotated[int, msgspec.Meta(ge=1)]


def run(config: Config) -> None:
    """Fine-tunes from each init with each seed; what comes out stands in WORKDIR/comparison.json.

    Runs of one seed differ in nothing but the backbone's weights: the heads start alike, and the
    images come in the same order with the same augmentation. (But for mask_rcnn, whose input is
    read in parallel: alike, not the same.) Finished runs are not repeated.

    Raises:
        UserError: when the settings, the labels or an init do not fit.

    Example:
        run(Config(inits="random,runs/student", workdir="runs/compare", dataset="voc", ...))
    """
    config.validate()
    started = _inits(config)
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
            run = _one(config, name, seed, folder, started[name])
            runs[name].append(run)
    metric = next(iter(runs.values()))[0].metric
    result = comparison.compare(runs, metric)
    text = "\n\n".join([comparison.table(result), *_differences(started)])
    content = {"settings": dataclasses.asdict(config), **result}
    atomic.write_json(workdir / "comparison.json", content)
    workdir.joinpath("comparison.md").write_text(text + "\n")
    comparison.draw(runs, metric, workdir / "comparison.png")
    print(f"\n{text}\n\n  written   {workdir}/comparison.json, .md, .png")


def _inits(config: Config) -> dict[str, inits.Init]:
    """Loads each init once, before anything long.

    Raises:
        UserError: when one does not load, or "random" is another network than all others.
    """
    started = {name: inits.load(name, student=config.student) for name in config.names}
    others = {init.architecture for name, init in started.items() if name != inits.RANDOM}
    ours = started[inits.RANDOM].architecture if inits.RANDOM in started else None
    if ours is not None and ours not in others:
        raise UserError(
            f"student: expected the network of another init, {' or '.join(sorted(others))}, for "
            f"random. Received: {config.student}: {ours}. Give the --student that they are."
        )
    return started


def _differences(started: dict[str, inits.Init]) -> list[str]:
    """Says so where not all inits are of one network."""
    found = {init.architecture for init in started.values()}
    if len(found) == 1:
        return []
    shown = "; ".join(f"{name}: {init.architecture}" for name, init in started.items())
    return [f"Not all are of one network, so more than the weights differs. {shown}."]


def _one(config: Config, name: str, seed: int, folder: Path, init: inits.Init) -> comparison.Run:
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
    what = "the scores of a fine-tuning run"
    remedy = f"It is damaged. Remove {folder}: the same command then trains it again."
    content = records.read(results, dict[str, Any], what=what, remedy=remedy)
    result = records.convert(content, _Result, what=what, origin=results, remedy=remedy)
    stored = run_config.read(folder)
    settings = stored.settings
    different = [
        field.name
        for field in dataclasses.fields(Config)
        if field.name in settings
        and field.name not in FREE | {"seed"}
        and settings[field.name] != getattr(config, field.name)
    ]
    if different:
        raise UserError(
            f"Expected the runs of this comparison in {config.workdir}. Received: {folder}, with "
            f"other {', '.join(different)}. Name another --workdir."
        )
    if name != inits.RANDOM and result.init.sha256 != init.sha256:
        raise UserError(
            f"Expected the runs of {name} as it is now in {config.workdir}. Received: {folder}, "
            "which started from other weights. Name another --workdir, or remove that folder."
        )
    metric = result.metric
    if content.get(metric) is None:
        raise UserError(
            f"Expected a score {metric} in {results}. Received: none, as there was nothing to find."
        )
    images = records.convert(
        stored.facts, _Images, what=run_config.WHAT, origin=folder / run_config.NAME
    )
    epoch = config.global_batch_size / images.num_examples  # epochs a step
    lines = logs.read(folder / "evaluations.jsonl")
    return comparison.Run(
        seed=seed,
        metric=metric,
        scores={key: value for key, value in content.items() if isinstance(value, float)},
        evaluations=[{**line, "epoch": line["step"] * epoch} for line in lines],
    )


def _labels(names: tuple[str, ...]) -> dict[str, str]:
    """A folder name for each init: its last parts, as many as tell them apart."""
    parts = {name: [part for part in name.replace(":", "/").split("/") if part] for name in names}
    for count in range(1, max(len(of_name) for of_name in parts.values()) + 1):
        labels = {name: "_".join(of_name[-count:]) for name, of_name in parts.items()}
        if len(set(labels.values())) == len(labels):
            break
    return labels
