"""Numbers, words and a plot for runs from several inits."""

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import scipy.stats
from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True)
class Run:
    """What one run scored.

    Args:
        seed: of it.
        metric: name of the score that counts.
        scores: at the end, by name.
        evaluations: lines of evaluations.jsonl, each with its "epoch".
    """

    seed: int
    metric: str
    scores: dict[str, float]
    evaluations: list[dict[str, float]]


def compare(runs: Mapping[str, Sequence[Run]], metric: str) -> dict[str, Any]:
    """Compares every init with the first one.

    Args:
        runs: by init, in one order of seeds.
        metric: name of the score that counts.

    Returns:
        JSON values: metric, reference, inits: {name: {scores: {score: {mean, std, values}},
        verdict}}; the standard deviation is that of a sample, null for one seed. The first has no
        verdict.
    """
    reference, *others = runs
    names = sorted(set.intersection(*(set(run.scores) for of in runs.values() for run in of)))
    result: dict[str, Any] = {"metric": metric, "reference": reference, "inits": {}}
    for name, of_init in runs.items():
        scores = {key: _spread([run.scores[key] for run in of_init]) for key in names}
        result["inits"][name] = {"scores": scores, "seeds": [run.seed for run in of_init]}
    for name in others:
        ours, theirs = ([run.scores[metric] for run in runs[key]] for key in (name, reference))
        result["inits"][name]["verdict"] = verdict(name, reference, metric, ours, theirs)
    return result


def verdict(
    name: str, reference: str, metric: str, ours: Sequence[float], theirs: Sequence[float]
) -> str:
    """Says in words whether an init is better than the reference, seed by seed."""
    gains = [a - b for a, b in zip(ours, theirs, strict=True)]
    gain = statistics.mean(gains)
    wins, count = sum(x > 0 for x in gains), len(gains)
    seeds = f"better in {wins} of {count} seeds"
    if gain <= 0:
        return f"{name} is not better than {reference}: {metric} {gain:+.4f} on average, {seeds}."
    if count == 1:
        return f"{name} scored higher than {reference} by {gain:.4f} {metric}, in a single run."
    half = float(scipy.stats.t.ppf(0.975, count - 1)) * statistics.stdev(gains) / math.sqrt(count)
    interval = f"95 % interval of the mean gain {gain - half:+.4f} to {gain + half:+.4f}"
    if gain > half:
        return f"{name} is better than {reference}: {metric} {gain:+.4f}, {seeds}; {interval}."
    return (
        f"{name} is not shown to be better than {reference}: {metric} {gain:+.4f} on average, "
        f"{seeds}, but so few seeds allow for no gain as well; {interval}."
    )


def table(result: Mapping[str, Any]) -> str:
    """Writes the comparison as Markdown: a line for each init, then the verdicts."""
    first = result["inits"][result["reference"]]["scores"]
    metric = result["metric"]
    names = [metric, *(name for name in first if name != metric)]
    lines = [f"| init | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    for init, content in result["inits"].items():
        cells = [_cell(content["scores"][name]) for name in names]
        lines.append(f"| {init} | {' | '.join(cells)} |")
    count = len(result["inits"][result["reference"]]["seeds"])
    lines += ["", f"Mean and standard deviation of {count} seed{'s' * (count > 1)}."]
    for content in result["inits"].values():
        if "verdict" in content:
            lines += ["", content["verdict"]]
    return "\n".join(lines)


def draw(runs: Mapping[str, Sequence[Run]], metric: str, path: Path) -> None:
    """Draws the metric over the epochs: each seed thin, the mean over seeds thick."""
    figure = Figure(figsize=(6, 4), layout="tight")
    axis = figure.subplots()
    for place, (name, of_init) in enumerate(runs.items()):
        colour = f"C{place}"
        values: dict[float, list[float]] = {}
        for run in of_init:
            lines = [line for line in run.evaluations if metric in line]
            epochs, scores = [line["epoch"] for line in lines], [line[metric] for line in lines]
            axis.plot(epochs, scores, color=colour, alpha=0.35, lw=1, marker=".")
            for epoch, score in zip(epochs, scores, strict=True):
                values.setdefault(epoch, []).append(score)
        epochs = sorted(values)
        means = [statistics.mean(values[epoch]) for epoch in epochs]
        axis.plot(epochs, means, color=colour, lw=2.5, marker="o", label=name)
    axis.set(xlabel="epoch", ylabel=metric, ylim=(0, None))
    axis.grid(alpha=0.3)
    axis.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _spread(values: list[float]) -> dict[str, Any]:
    spread = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.mean(values), "std": spread, "values": values}


def _cell(score: Mapping[str, Any]) -> str:
    spread = "" if score["std"] is None else f" ± {score['std']:.4f}"
    return f"{score['mean']:.4f}{spread}"
