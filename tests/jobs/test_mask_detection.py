"""Mask R-CNN as a fine-tuning job: what it is told, and what becomes of its scores."""

import importlib
import json
from typing import Any

import pytest

from pcd_tf.configs.finetune import Config
from pcd_tf.data import synthetic
from pcd_tf.jobs import finetune
from pcd_tf.jobs._mask_detection import MaskDetection
from tests import tiny_run


@pytest.fixture(autouse=True)
def few_images(monkeypatch):
    for split in ("train", "val"):
        monkeypatch.setitem(synthetic.NUM_LABELLED, split, 3)


@pytest.fixture
def student(tmp_path):
    (tmp_path / "student_run").mkdir()
    tiny_run.write(tmp_path / "student_run", image_size=32)
    return str(tmp_path / "student_run")


def config(workdir, student, **changes):
    return Config(
        **{
            "model": "mask_rcnn",
            "init": student,
            "image_size": 64,
            "global_batch_size": 2,
            "num_steps": 6,
            "freeze": "P2",
            "schedule": "cosine",
            "log_every_steps": 2,
            "workdir": str(workdir),
            **changes,
        }
    )


def test_it_is_told_the_recipe_and_its_scores_are_joined(tmp_path, student, monkeypatch, capsys):
    module = importlib.import_module("pcd_tf.detectors.mask_rcnn")
    seen: dict[str, Any] = {}

    def stand_in(init, train_source, eval_source, settings, workdir, *, log, evaluated):
        """Learns nothing, and tells what a training would."""
        seen.update(settings=settings, sources=(train_source.name, eval_source.name))
        for step in (2, 4, 6):
            assert not log(step, {"loss": 1.0 / step})
        image = eval_source.objects(0).image_id
        mask = dict(eval_source.masks(0)[0])
        mask["counts"] = (
            mask["counts"].decode() if isinstance(mask["counts"], bytes) else mask["counts"]
        )
        found = {"image_id": image, "category_id": eval_source.category_ids[0], "score": 0.9}
        found |= {"bbox": [1.0, 2.0, 30.0, 20.0], "segmentation": mask}
        (workdir / "detections.json").write_text(json.dumps([found]))
        scores = {"box": {"AP": 0.25, "by_class": {}}, "mask": {"AP": 0.125, "by_class": {}}}
        evaluated(6, scores)
        return scores

    monkeypatch.setattr(module, "train", stand_in)
    finetune.run(config(tmp_path / "run", student))
    settings = seen["settings"]
    assert (settings.frozen_stages, settings.schedule, settings.num_steps) == (2, "cosine", 6)
    assert settings.learning_rate == pytest.approx(0.02 * 2 / 16)
    assert seen["sources"] == ("synthetic train", "synthetic val")
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert (results["metric"], results["AP"], results["mask_AP"]) == ("mask_AP", 0.25, 0.125)
    (line,) = (tmp_path / "run" / "evaluations.jsonl").read_text().splitlines()
    assert json.loads(line)["mask_AP"] == 0.125
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2, 4, 6]
    assert (tmp_path / "run" / "pictures" / "predictions.png").is_file()
    assert "There is no SavedModel of mask_rcnn" in capsys.readouterr().out


def test_images_without_masks_are_refused_and_nothing_is_written(tmp_path, student, monkeypatch):
    def without_masks(*arguments):
        source = opened(*arguments)
        source.mask_fault = "annotations[3].segmentation: expected a list, received text"
        return source

    opened = MaskDetection._open
    monkeypatch.setattr(MaskDetection, "_open", staticmethod(without_masks))
    with pytest.raises(
        ValueError, match=r"a mask for each.*\(annotations\[3\].*Use --model=retina"
    ):
        finetune.run(config(tmp_path / "run", student))
    assert not (tmp_path / "run").exists()
