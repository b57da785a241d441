"""Scores by step: kept, resumed, the best found."""

import json
import math

import pytest

from pcd_tf.training.evaluations import Evaluations


def test_scores_are_kept_and_the_first_best_is_found(tmp_path):
    scores = Evaluations(tmp_path / "e.jsonl", tmp_path / "tb")
    for step, value in ((10, 0.2), (20, 0.5), (30, 0.5), (40, 0.4)):
        scores.add(step, {"knn": value, "missing": math.nan})
    assert scores.best("knn") == (20, 0.5)
    assert scores.since(20) == 2
    assert 30 in scores
    assert 35 not in scores
    lines = [json.loads(line) for line in (tmp_path / "e.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [10, 20, 30, 40]
    assert "missing" not in lines[0]
    assert list((tmp_path / "tb").iterdir())


def test_a_resumed_run_forgets_what_came_after_its_checkpoint(tmp_path):
    first = Evaluations(tmp_path / "e.jsonl", tmp_path / "tb")
    first.add(10, {"knn": 0.2})
    first.add(20, {"knn": 0.9})
    again = Evaluations(tmp_path / "e.jsonl", tmp_path / "tb", first_step=10)
    assert again.best("knn") == (10, 0.2)
    assert (tmp_path / "e.jsonl").read_text().count("\n") == 1


def test_a_score_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="Expected a score knn in .* Received: none"):
        Evaluations(tmp_path / "e.jsonl", tmp_path / "tb").best("knn")
