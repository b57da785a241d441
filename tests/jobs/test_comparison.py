"""A comparison's numbers against hand-made ones, and its words."""

import re

import pytest

from pcd_tf.jobs import _comparison as comparison


def runs(values, metric="AP"):
    return [
        comparison.Run(
            seed, metric, {metric: value, "AP50": 2 * value}, [{"epoch": 5, "AP": value}]
        )
        for seed, value in enumerate(values)
    ]


def test_means_and_spreads():
    result = comparison.compare(
        {"random": runs([0.1, 0.2, 0.3]), "ours": runs([0.2, 0.3, 0.4])}, "AP"
    )
    scores = result["inits"]["random"]["scores"]
    assert scores["AP"]["mean"] == pytest.approx(0.2)
    assert scores["AP"]["std"] == pytest.approx(0.1)  # of a sample: n - 1
    assert scores["AP50"]["values"] == pytest.approx([0.2, 0.4, 0.6])
    assert "verdict" not in result["inits"]["random"]


@pytest.mark.parametrize(
    ("ours", "words"),
    [
        ([0.2, 0.31, 0.39], "ours is better than random: AP .0.1000, better in 3 of 3 seeds"),
        ([0.1, 0.2, 0.29], "ours is not better than random: AP -0.0033"),
        ([0.1, 0.2, 0.3], "ours is not better than random: AP .0.0000"),
        ([0.09, 0.2, 0.5], "ours is not shown to be better than random: AP .0.0633 on average"),
    ],
)
def test_it_says_in_words_whether_it_helped(ours, words):
    result = comparison.compare({"random": runs([0.1, 0.2, 0.3]), "ours": runs(ours)}, "AP")
    assert re.match(words, result["inits"]["ours"]["verdict"])
    assert result["inits"]["ours"]["verdict"] in comparison.table(result)


def test_one_seed_claims_nothing():
    result = comparison.compare({"random": runs([0.1]), "ours": runs([0.2])}, "AP")
    assert result["inits"]["ours"]["verdict"].endswith("in a single run.")
    assert result["inits"]["ours"]["scores"]["AP"]["std"] is None


def test_the_table_starts_with_the_metric_that_counts():
    result = comparison.compare({"random": runs([0.1, 0.3]), "ours": runs([0.2, 0.2])}, "AP")
    header, _, first, *_ = comparison.table(result).splitlines()
    assert header == "| init | AP | AP50 |"
    assert first == "| random | 0.2000 ± 0.1414 | 0.4000 ± 0.2828 |"


def test_the_plot_is_drawn(tmp_path):
    comparison.draw({"random": runs([0.1, 0.3])}, "AP", tmp_path / "c.png")
    assert (tmp_path / "c.png").stat().st_size > 1000
