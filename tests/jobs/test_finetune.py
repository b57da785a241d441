"""Fine-tuning end to end on pictures made here: results, resuming, comparing, refusals."""

import dataclasses
import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

import main
from pcd_tf import inits, students, teachers
from pcd_tf.configs.compare import Config as CompareConfig
from pcd_tf.configs.finetune import Config
from pcd_tf.errors import UserError
from pcd_tf.jobs import compare, finetune
from pcd_tf.jobs._detection import Detection
from pcd_tf.jobs._segmentation import Segmentation
from tests import tiny_run, toys


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    folder = tmp_path_factory.mktemp("student")
    tiny_run.write(folder, image_size=32)
    return str(folder)


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    """Four pictures a split: bright squares, of class 1."""
    folder = tmp_path_factory.mktemp("maps")
    for split in ("train", "val"):
        (folder / split).mkdir()
        (folder / f"{split}_sem").mkdir()
        for number in range(4):
            classes = np.zeros((32, 48), np.uint8)
            classes[4 : 20 + number, 8:30] = 1
            pixels = np.repeat(classes[..., None] * 180 + 20, 3, axis=-1)
            Image.fromarray(pixels).save(folder / split / f"{number}.png")
            Image.fromarray(classes).save(folder / f"{split}_sem" / f"{number}.png")
    (folder / "classes.txt").write_text("rest\nsquare\n")
    return str(folder)


@pytest.fixture(scope="module")
def boxes(tmp_path_factory):
    """Four pictures a split, each with one bright square, the last of them with nothing."""
    folder = tmp_path_factory.mktemp("boxes")
    for split in ("train", "val"):
        (folder / split).mkdir()
        images, annotations = [], []
        for number in range(4):
            pixels = np.full((40, 64, 3), 30, np.uint8)
            if number < 3:
                pixels[5:25, 10 + number : 40] = 220
                box = [10 + number, 5, 30 - number, 20]
                annotations.append(
                    {"id": number + 1, "image_id": number, "category_id": 7, "bbox": box}
                    | {"area": box[2] * box[3], "iscrowd": 0}
                )
            Image.fromarray(pixels).save(folder / split / f"{number}.png")
            images.append({"id": number, "file_name": f"{number}.png", "height": 40, "width": 64})
        content = {
            "images": images,
            "annotations": annotations,
            "categories": [{"id": 7, "name": "square"}],
        }
        (folder / f"instances_{split}.json").write_text(json.dumps(content))
    return str(folder)


def config(workdir, maps, student, **changes):
    return Config(
        **{
            "model": "fcn",
            "init": student,
            "dataset": "png_maps",
            "data_dir": maps,
            "image_size": 32,
            "global_batch_size": 2,
            "num_steps": 4,
            "eval_every_epochs": 1.0,
            "workdir": str(workdir),
            "export": False,
            **changes,
        }
    )


def test_an_interrupted_run_ends_as_a_whole_one_does(tmp_path, maps, student, monkeypatch):
    finetune.run(config(tmp_path / "whole", maps, student))
    evaluate = Segmentation.evaluate

    def interrupted(self, model):
        raise KeyboardInterrupt

    monkeypatch.setattr(Segmentation, "evaluate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        finetune.run(config(tmp_path / "cut", maps, student))
    monkeypatch.setattr(Segmentation, "evaluate", evaluate)
    finetune.run(config(tmp_path / "cut", maps, student))
    whole, cut = (json.loads((tmp_path / x / "results.json").read_text()) for x in ("whole", "cut"))
    assert whole == cut
    assert whole["metric"] == "mIoU"
    assert set(whole["by_class"]) == {"rest", "square"}
    steps = [
        [json.loads(line)["step"] for line in (tmp_path / x / file).read_text().splitlines()]
        for x in ("whole", "cut")
        for file in ("evaluations.jsonl",)
    ]
    assert steps == [[2, 4], [2, 4]]
    for picture in ("batch.png", "predictions.png"):
        assert (tmp_path / "cut" / "pictures" / picture).is_file()
    kept = json.loads((tmp_path / "cut" / "config.json").read_text())
    assert (kept["mean"], kept["std"]) == (list(toys.MEAN), list(toys.STD))
    assert kept["normalisation"] == "the student's"
    with pytest.raises(ValueError, match="is finished; it is left as it is"):
        finetune.run(config(tmp_path / "cut", maps, student))


@pytest.mark.slow
@pytest.mark.parametrize("model", ["retinanet", "keras_hub_retinanet"])
def test_a_detector_is_trained_scored_drawn_and_exported(tmp_path, boxes, student, model):
    finetune.run(
        config(
            tmp_path / "run",
            boxes,
            student,
            model=model,
            dataset="coco_json",
            image_size=64,
            batch_norm="frozen",
            freeze="P2",
            export=True,
        )
    )
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["metric"] == "AP"
    assert 0 <= results["AP50"] <= 1
    assert results["by_class"].keys() == {"square"}
    found = json.loads((tmp_path / "run" / "detections.json").read_text())
    assert {result["category_id"] for result in found} <= {7}
    assert (tmp_path / "run" / "saved_model" / "saved_model.pb").is_file()
    for picture in ("batch.png", "predictions.png"):
        assert (tmp_path / "run" / "pictures" / picture).is_file()


def test_a_comparison_treats_all_alike_and_keeps_what_is_finished(
    tmp_path, maps, student, monkeypatch, capsys
):
    asked = []

    def stand_in(chosen):
        """Notes what was asked for, and writes what a run would."""
        asked.append(chosen)
        folder = Path(chosen.workdir)
        folder.mkdir(parents=True)
        score = 0.5 + 0.1 * chosen.seed if chosen.init == student else 0.3 + 0.1 * chosen.seed
        init = {"sha256": inits.load(chosen.init, student=chosen.student).sha256}
        results = {"metric": "mIoU", "mIoU": score, "init": init}
        (folder / "results.json").write_text(json.dumps(results))
        stored = {"job": "finetune", "settings": dataclasses.asdict(chosen), "num_examples": 4}
        (folder / "config.json").write_text(json.dumps(stored))

    monkeypatch.setattr(finetune, "run", stand_in)
    shared = dataclasses.asdict(config(tmp_path, maps, student))
    for name in ("init", "export", "seed"):
        del shared[name]
    other = tmp_path / "other"
    other.mkdir()
    tiny_run.write(other, image_size=32)
    weights = students.load(other / "student")
    weights.trainable_variables[0].assign(0.0 * weights.trainable_variables[0])
    shutil.rmtree(other / "student")
    (other / "student").mkdir()
    students.save(weights, other / "student")
    settings = CompareConfig(**shared, inits=f"{other},{student}", seeds=2)
    compare.run(settings)
    assert [(x.init, x.seed) for x in asked] == [(i, s) for s in (0, 1) for i in settings.names]
    first = dataclasses.replace(asked[0], init="", workdir="")
    assert first == dataclasses.replace(asked[1], init="", workdir="")
    result = json.loads((tmp_path / "comparison.json").read_text())
    assert result["inits"][student]["scores"]["mIoU"]["mean"] == pytest.approx(0.55)
    assert f"{student} is better than {other}: mIoU +0.2000" in capsys.readouterr().out
    compare.run(settings)
    assert len(asked) == 4
    results = Path(asked[0].workdir) / "results.json"
    whole = results.read_text()
    for damaged in ("", "[1]", whole.replace('"sha256": "', '"sha256": 1, "x": "'), "\0" * 100):
        results.write_text(damaged)
        with pytest.raises(UserError, match=r"scores of a fine-tuning run.*results\.json .*Remove"):
            compare.run(settings)
    results.write_text(whole)
    with pytest.raises(ValueError, match="with other learning_rate. Name another --workdir"):
        compare.run(dataclasses.replace(settings, learning_rate=0.5))
    shutil.rmtree(other / "student")
    shutil.copytree(Path(student) / "student", other / "student")
    with pytest.raises(ValueError, match="which started from other weights. Name another"):
        compare.run(settings)
    with pytest.raises(ValueError, match=r"student: expected the network of another init, ResNet"):
        compare.run(dataclasses.replace(settings, inits=f"random,{student}"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": "coco_json"}, "dataset: fcn takes png_maps, synthetic, tfrecord, voc"),
        ({"data_dir": None}, "data_dir: dataset=png_maps needs it"),
        ({"init": "random", "freeze": "P2"}, "freeze: a random backbone has nothing worth keeping"),
        ({"init": "random", "batch_norm": "frozen"}, "batch_norm: a random backbone has no"),
        ({"train_annotations": "a.json"}, "train_annotations: dataset=png_maps has no use for it"),
        ({"model": "retina"}, r"model: expected one of .*Did you mean 'retinanet'\?"),
        (
            {"model": "mask_rcnn", "dataset": "synthetic", "data_dir": None, "image_size": 96},
            "image_size: mask_rcnn wants a multiple of 64",
        ),
        ({"warmup_epochs": 3.0}, "warmup_epochs: expected a warm-up shorter than the run"),
        ({"eval_split": "dev"}, "no directory .*/dev"),
        ({"eval_split": "train"}, "eval_split: expected other images than those trained on"),
        ({"init": "runs/nowhere"}, "'runs/nowhere', which does not exist"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_written(
    tmp_path, maps, student, changes, message
):
    with pytest.raises(ValueError, match=message):
        finetune.run(config(tmp_path / "run", maps, student, **changes))
    assert not (tmp_path / "run").exists()


def test_images_without_any_object_are_nothing_to_learn_from(tmp_path, boxes, student):
    path = tmp_path / "empty.json"
    content = json.loads((Path(boxes) / "instances_train.json").read_text())
    path.write_text(json.dumps({**content, "annotations": []}))
    asked = config(tmp_path / "run", boxes, student, model="retinanet", dataset="coco_json")
    with pytest.raises(ValueError, match="Expected objects in .* 4 images without any"):
        finetune.run(dataclasses.replace(asked, train_annotations=str(path)))


@pytest.mark.parametrize("using", ["train", "val"])
def test_splits_of_the_same_categories_have_the_same_classes(tmp_path, boxes, student, using):
    """Of a class that stands above the other one, only one split has an object."""
    folder = tmp_path / "boxes"
    shutil.copytree(boxes, folder)
    for split in ("train", "val"):
        path = folder / f"instances_{split}.json"
        content = json.loads(path.read_text())
        content["categories"] = [
            {"id": 0, "name": "shapes", "supercategory": "none"},
            {"id": 7, "name": "square", "supercategory": "shapes"},
        ]
        if split == using:
            content["annotations"][0]["category_id"] = 0
        path.write_text(json.dumps(content))
    changes = {"model": "retinanet", "dataset": "coco_json"}
    task = Detection(config(tmp_path / "run", str(folder), student, **changes))
    assert set(task.train.class_names) == {"shapes", "square"}
    assert task.train.class_names == task.held_out.class_names
    assert task.train.category_ids == task.held_out.category_ids


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_damaged_image_is_named_whichever_split_it_is_in(tmp_path, maps, student, split):
    """One whose head is whole, so that it shows when it is decoded: while training, or after."""
    folder = tmp_path / "maps"
    shutil.copytree(maps, folder)
    noise = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    file = folder / split / "2.png"
    Image.fromarray(noise).save(file)
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(UserError, match=f"^Cannot decode [^\n]*{split}/2.png[^\n]*$"):
        finetune.run(config(tmp_path / "run", str(folder), student))


@pytest.mark.parametrize("split", ["train", "val"])
def test_an_image_of_another_size_is_named_before_training(tmp_path, maps, boxes, student, split):
    for given, changes in ((maps, {}), (boxes, {"model": "retinanet", "dataset": "coco_json"})):
        folder = tmp_path / Path(given).name
        shutil.copytree(given, folder)
        Image.new("RGB", (20, 10)).save(folder / split / "2.png")
        asked = config(tmp_path / "run", str(folder), student, **changes)
        with pytest.raises(UserError, match=f"Expected .*{split}/2.png to be .* Received: 20 x 10"):
            finetune.run(asked)
    assert not (tmp_path / "run").exists()


def test_classes_in_another_order_are_mapped_by_their_names(tmp_path, boxes, student):
    files = {}
    for split, names in (("train", ("square", "disc")), ("val", ("disc", "square"))):
        content = json.loads((Path(boxes) / f"instances_{split}.json").read_text())
        content["categories"] = [{"id": 7 + i, "name": name} for i, name in enumerate(names)]
        for annotation in content["annotations"]:
            annotation["category_id"] = 7 + names.index("square")
        files[split] = tmp_path / f"{split}.json"
        files[split].write_text(json.dumps(content))
    asked = config(
        tmp_path / "run",
        boxes,
        student,
        model="retinanet",
        dataset="coco_json",
        train_annotations=str(files["train"]),
        eval_annotations=str(files["val"]),
    )
    task = Detection(asked)
    assert task.train.class_names == task.held_out.class_names == ("square", "disc")
    assert (task.train.category_ids, task.held_out.category_ids) == ((7, 8), (8, 7))
    assert task.held_out.objects(0).labels.tolist() == task.train.objects(0).labels.tolist() == [0]


def test_classes_must_be_the_same_in_both_splits(tmp_path, boxes, student):
    path = tmp_path / "other.json"
    text = (Path(boxes) / "instances_val.json").read_text()
    path.write_text(text.replace('"square"', '"disc"'))
    asked = config(tmp_path / "run", boxes, student, model="retinanet", dataset="coco_json")
    with pytest.raises(ValueError, match="the same classes in .* square only in .*; disc only in"):
        finetune.run(dataclasses.replace(asked, eval_annotations=str(path)))


@pytest.mark.parametrize("model", ["retinanet", "fcn"])
def test_a_backbone_that_does_not_fit_leaves_nothing_behind(tmp_path, maps, boxes, model):
    """So that the corrected command finds a new workdir."""
    images = keras.Input((None, None, 3))
    patches = keras.Model(images, keras.layers.Conv2D(8, 16, strides=16)(images), name="patches")
    head = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
    teachers.Teacher("toy", patches, head).save(tmp_path / "teacher")
    asked = config(tmp_path / "run", maps, str(tmp_path / "teacher"))
    if model == "retinanet":
        changes = {"model": model, "dataset": "coco_json", "data_dir": boxes}
        asked = dataclasses.replace(asked, **changes)
    with pytest.raises(ValueError, match="patches.* with P4"):
        finetune.run(asked)
    assert not (tmp_path / "run").exists()


def test_the_command_line_runs_it_and_says_what_is_not_finite(tmp_path, maps, student, capsys):
    """A rate beyond all measure: the run stops, and what it learnt before is kept."""
    arguments = [
        *("finetune", "--model=fcn", f"--init={student}", "--dataset=png_maps"),
        *(f"--data_dir={maps}", "--image_size=32", "--global_batch_size=2", "--num_steps=30"),
        *("--learning_rate=1000", "--weight_decay=1", "--warmup_epochs=0"),  # each grows 124 times
        *("--noexport", f"--workdir={tmp_path / 'run'}"),
    ]
    assert main.main(arguments) == 2
    assert "Not finite at step" in capsys.readouterr().err
    assert not (tmp_path / "run" / "results.json").exists()
