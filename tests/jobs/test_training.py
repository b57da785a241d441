"""A run as a whole: interrupted and resumed, stopped by what is not finite, refused."""

import json
import signal
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from pcd_tf import data, files
from pcd_tf.configs.distill import Config
from pcd_tf.data.synthetic import SyntheticSource
from pcd_tf.errors import UserError
from pcd_tf.jobs import _training as training
from pcd_tf.jobs import distill
from pcd_tf.models import Distiller, MoCoV3
from pcd_tf.training import devices, optimizer
from pcd_tf.training import logs as run_logs
from pcd_tf.training.run_directory import RunDirectory
from tests import toys

SOURCE = SyntheticSource(num_examples=10, image_size=40)
TIMES = ("time", "images_per_second", "data_wait")


def settings(workdir, **changed):
    given: dict[str, Any] = {
        "workdir": str(workdir),
        "teacher_checkpoint": "toy",
        "image_size": 32,
        "global_batch_size": 4,
        "num_steps": 6,
        "learning_rate": 4.0,
        "optimizer": "sgd",
        "queue_size": 20,
        "log_every_steps": 3,
        "checkpoint_every_steps": 2,
    }
    return Config(**given | changed)


def build(config, strategy=None):
    keras.utils.set_random_seed(0)
    strategy = strategy or devices.strategy("one_device")
    with strategy.scope():
        model = Distiller(toys.teacher(), toys.backbone(16), queue_size=config.queue_size, seed=0)
        model.compile(optimizer.build(config, SOURCE.num_examples), jit_compile=False)
    return model


def fit(config, model, source=SOURCE):
    directory = RunDirectory(config.workdir, "distill", config)
    directory.create(mean=toys.MEAN, std=toys.STD)
    return training.fit(model, source, data.BYOL, config, directory)


def state(model):
    """Every variable of a model and its optimizer by name, the queue's included."""
    variables = [*model.variables, *model.optimizer.variables]
    return {f"{i} {v.path}": np.array(v) for i, v in enumerate(variables)}


@pytest.fixture
def interrupted(monkeypatch):
    """Stops a run by the keyboard as soon as it has done so many steps."""

    def at(step):
        advance = run_logs.Logs.advance

        def advance_or_stop(self, waited):
            advance(self, waited)
            if self._bar.n == step:
                monkeypatch.setattr(run_logs.Logs, "advance", advance)
                raise KeyboardInterrupt

        monkeypatch.setattr(run_logs.Logs, "advance", advance_or_stop)

    return at


def assert_same_run(model, lines, other, other_lines):
    for (name, value), expected in zip(state(model).items(), state(other).values(), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-7, err_msg=name)
    assert [line["step"] for line in lines] == [line["step"] for line in other_lines]
    for line, expected in zip(lines, other_lines, strict=True):
        for name in expected.keys() - set(TIMES):
            assert line[name] == pytest.approx(expected[name], rel=1e-5, abs=1e-7), name


def test_negatives_that_stay_random_are_told(capsys):
    distill._warn_of_random_negatives(settings("run", num_steps=4, queue_size=17), SOURCE)
    assert "replaces 16 of the 17 negatives" in capsys.readouterr().out
    distill._warn_of_random_negatives(settings("run", num_steps=4, queue_size=16), SOURCE)
    assert not capsys.readouterr().out


# Resuming


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, interrupted):
    whole = build(settings(tmp_path / "whole"))
    expected = fit(settings(tmp_path / "whole"), whole)
    assert [line["step"] for line in expected] == [1, 2, 3, 4, 6]

    config = settings(tmp_path / "parts")
    interrupted(3)
    with pytest.raises(KeyboardInterrupt):
        fit(config, build(config))
    assert [x["step"] for x in run_logs.read(tmp_path / "parts" / "metrics.jsonl")] == [1, 2]
    interrupted(5)
    with pytest.raises(KeyboardInterrupt):
        fit(config, build(config))
    resumed = build(config)
    lines = fit(config, resumed)
    assert_same_run(resumed, lines, whole, expected)
    assert len((tmp_path / "parts" / "metrics.jsonl").read_text().splitlines()) == 5
    moved = np.abs(np.array(resumed.queue.vectors) - np.array(build(config).queue.vectors))
    assert (moved.max(axis=1) > 0).all()  # 6 batches of 4 went round the queue of 20


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_keeps_the_step_that_it_came_in(tmp_path, monkeypatch, number):
    advance = run_logs.Logs.advance

    def advance_and_signal(self, waited):
        advance(self, waited)
        if self._bar.n == 2:
            signal.raise_signal(number)

    monkeypatch.setattr(run_logs.Logs, "advance", advance_and_signal)
    config = settings(tmp_path / "run", num_steps=3, checkpoint_every_steps=1000)
    with pytest.raises(KeyboardInterrupt):
        fit(config, build(config))
    assert [path.stem for path in (tmp_path / "run" / "checkpoints").glob("*.index")] == ["step-2"]
    monkeypatch.undo()
    resumed = build(config)
    fit(config, resumed)
    whole = build(settings(tmp_path / "whole", num_steps=3))
    fit(settings(tmp_path / "whole", num_steps=3), whole)
    for (name, value), expected in zip(state(resumed).items(), state(whole).values(), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-7, err_msg=name)


def test_a_device_without_memory_is_told_with_a_remedy(tmp_path, monkeypatch):
    def exhausted(*args):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating")

    config = settings(tmp_path)
    model = build(config)
    monkeypatch.setattr(model, "train_step", exhausted)
    with pytest.raises(UserError, match="smaller batch size or .*OOM when allocating"):
        fit(config, model)
    smaller = settings(tmp_path, global_batch_size=2, num_steps=1)  # is no other run: none began
    assert [line["step"] for line in fit(smaller, build(smaller))] == [1]


def test_a_run_of_two_replicas_can_go_on_on_one(tmp_path, interrupted, two_replicas):
    whole = build(settings(tmp_path / "whole"))
    expected = fit(settings(tmp_path / "whole"), whole)

    config = settings(tmp_path / "parts", strategy="mirrored", num_virtual_devices=2)
    interrupted(5)
    with pytest.raises(KeyboardInterrupt):
        fit(config, build(config, two_replicas))
    alone = settings(tmp_path / "parts")
    resumed = build(alone)
    lines = fit(alone, resumed)
    assert [line["step"] for line in lines] == [line["step"] for line in expected]
    assert lines[-1]["loss"] == pytest.approx(expected[-1]["loss"], rel=1e-3)
    np.testing.assert_allclose(resumed.queue.vectors, whole.queue.vectors, atol=1e-4)


def test_moco_v3_in_float16_resumes_too(tmp_path, interrupted):
    def model():
        keras.utils.set_random_seed(0)
        with devices.strategy("one_device").scope():
            made = MoCoV3(toys.encoder(), toys.encoder(), mean=toys.MEAN, std=toys.STD)
            made.compile(optimizer.build(config, SOURCE.num_examples), jit_compile=False)
        return made

    devices.set_precision("mixed_float16")
    config = settings(tmp_path / "whole", num_steps=4)
    whole = model()
    expected = fit(config, whole)
    config = settings(tmp_path / "parts", num_steps=4)
    interrupted(3)
    with pytest.raises(KeyboardInterrupt):
        fit(config, model())
    resumed = model()
    lines = fit(config, resumed)
    assert isinstance(resumed.optimizer, keras.optimizers.LossScaleOptimizer)
    assert_same_run(resumed, lines, whole, expected)
    assert lines[-1]["learning_rate"] > 0


def test_a_run_that_stopped_after_its_last_step_trains_no_more(tmp_path):
    config = settings(tmp_path / "run", num_steps=2)
    model = build(config)
    lines = fit(config, model)
    again = build(config)
    assert fit(config, again) == lines
    assert_same_run(again, lines, model, lines)


def test_the_rate_that_is_logged_is_the_steps_own(tmp_path):
    config = settings(tmp_path / "run", warmup_epochs=0.8, log_every_steps=1)
    lines = fit(config, build(config))
    rate = optimizer.build(config, SOURCE.num_examples)._learning_rate
    expected = [float(rate(step)) for step in range(6)]
    assert [line["learning_rate"] for line in lines] == pytest.approx(expected)
    assert expected[0] == 0.0 < expected[1] < expected[2]


# What is kept


def test_the_teacher_is_in_no_checkpoint_and_only_the_last_two_are_kept(tmp_path):
    config = settings(tmp_path / "run")
    model = build(config)
    fit(config, model)
    names = sorted(path.name for path in (tmp_path / "run" / "checkpoints").glob("*.index"))
    assert names == ["step-4.index", "step-6.index"]
    saved = tf.train.list_variables(str(tmp_path / "run" / "checkpoints" / "step-6"))
    assert not [name for name, _ in saved if "teacher" in name]
    once = {id(v): v for v in [*model.variables, *model.optimizer.variables]}
    expected = sum(int(np.prod(v.shape)) for v in once.values())
    size = sum(int(np.prod(shape)) for name, shape in saved if "OBJECT_GRAPH" not in name)
    assert size == expected + 2  # run_step and save_counter


def snapshot(folder):
    """What a run's folder holds, but for who holds its lock."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path: path.read_bytes() for path in files if path.name != ".lock"}


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    tmp_path, interrupted, caplog, capsys
):
    whole = build(settings(tmp_path / "whole"))
    expected = fit(settings(tmp_path / "whole"), whole)
    config = settings(tmp_path / "run")
    interrupted(5)
    with pytest.raises(KeyboardInterrupt):
        fit(config, build(config))
    values = tmp_path / "run" / "checkpoints" / "step-4.data-00000-of-00001"
    values.write_bytes(values.read_bytes()[:-1])
    resumed = build(config)
    lines = fit(config, resumed)
    assert_same_run(resumed, lines, whole, expected)
    assert "Resumes at step 2 of 6." in capsys.readouterr().out
    assert f"Removes the damaged checkpoint {values.with_name('step-4')}: " in caplog.text


def test_a_run_whose_checkpoints_are_all_damaged_is_refused_and_left_alone(tmp_path):
    config = settings(tmp_path / "run", num_steps=2)
    fit(config, build(config))
    (values,) = (tmp_path / "run" / "checkpoints").glob("*.data*")
    values.write_bytes(values.read_bytes()[:1000])
    before = snapshot(tmp_path / "run")
    with pytest.raises(UserError, match=r"Received: 1, all damaged \(Read less.*Remove the direc"):
        fit(config, build(config))
    assert snapshot(tmp_path / "run") == before


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    config = settings(tmp_path / "run", num_steps=2)
    fit(config, build(config))
    before = snapshot(tmp_path / "run")
    larger = build(settings(tmp_path / "run", queue_size=24))
    with pytest.raises(ValueError, match="does not fit"):
        fit(config, larger)
    keras.utils.set_random_seed(0)
    with devices.strategy("one_device").scope():
        smaller = Distiller(toys.teacher(), toys.backbone(16), queue_size=20, mhsa=False)
        smaller.compile(optimizer.build(config, SOURCE.num_examples), jit_compile=False)
    with pytest.raises(ValueError, match="does not fit"):
        fit(config, smaller)
    assert snapshot(tmp_path / "run") == before


def test_a_run_whose_values_are_lost_is_no_traceback(tmp_path):
    config = settings(tmp_path / "run", num_steps=2)
    fit(config, build(config))
    (tmp_path / "run" / "metrics.jsonl").write_bytes(
        b'{"step": 1}\n\0\0\0\n{"step": 2, "lo3s": 1}\n'
    )
    with pytest.raises(UserError, match=r"in .*metrics\.jsonl. Received: none .* Remove the file"):
        fit(config, build(config))


# What is not finite


def poison(model, monkeypatch, *, after, loss):
    """Makes a step's loss, or only its gradients, infinite."""
    apply = model.optimizer.apply_gradients

    def poisoned(pairs):
        bad = tf.where(model.optimizer.iterations >= after, np.inf, 1.0)
        apply([(gradient * bad, variable) for gradient, variable in pairs])

    if loss:
        scale = model.pixel_loss.with_scores

        def infinite(*args):
            values, positive, best = scale(*args)
            bad = tf.where(model.optimizer.iterations.value >= after, np.nan, 1.0)
            return values * bad, positive, best

        monkeypatch.setattr(model.pixel_loss, "with_scores", infinite)
    else:
        monkeypatch.setattr(model.optimizer, "apply_gradients", poisoned)


@pytest.mark.parametrize(
    ("loss", "step", "named"), [(True, 6, "loss"), (False, 4, "kernel")], ids=["loss", "gradient"]
)
def test_what_is_not_finite_stops_the_run_and_the_last_checkpoint_is_good(
    tmp_path, monkeypatch, loss, step, named
):
    config = settings(tmp_path / "run", num_steps=8, log_every_steps=100)
    model = build(config)
    poison(model, monkeypatch, after=4 if loss else 3, loss=loss)
    with pytest.raises(UserError, match=rf"Not finite at step {step}: .*{named}") as caught:
        fit(config, model)
    assert "Lower --learning_rate" in str(caught.value)
    last = tf.train.latest_checkpoint(str(tmp_path / "run" / "checkpoints"))
    assert last.endswith(f"step-{step - 2}")
    written = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert all(np.isfinite(json.loads(line)["loss"]) for line in written.splitlines())

    good = build(config)  # goes on from there when the cause is gone
    lines = fit(config, good)
    assert lines[-1]["step"] == 8
    assert all(np.isfinite(value).all() for value in state(good).values())


# Unreadable images


def test_images_that_cannot_be_read_are_counted_in_the_end(tmp_path, capsys):
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(3):
        SOURCE.open(i, i).save(folder / f"{i}.png")
    (folder / "bad.jpg").write_bytes(b"\xff\xd8\xff no image")
    source = data.build("folder", data_dir=str(folder))
    config = settings(tmp_path / "run", global_batch_size=2, num_steps=4)
    fit(config, build(config), source)
    assert source.num_skipped == 1
    assert "1 unreadable images were passed over" in capsys.readouterr().out


def test_a_directory_that_vanishes_stops_the_run_and_the_last_checkpoint_is_kept(
    tmp_path, monkeypatch
):
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(10):
        SOURCE.open(i, i).save(folder / f"{i}.png")
    source = data.build("folder", data_dir=str(folder))
    advance = run_logs.Logs.advance

    def advance_and_remove(self, waited):
        advance(self, waited)
        if folder.is_dir():
            folder.rename(tmp_path / "away")

    monkeypatch.setattr(run_logs.Logs, "advance", advance_and_remove)
    monkeypatch.setattr(files, "PAUSES", (0,))
    config = settings(tmp_path / "run", num_steps=200, checkpoint_every_steps=1)
    with pytest.raises(UserError, match=rf"Received: {folder} is gone or empty") as caught:
        fit(config, build(config), source)
    assert len(str(caught.value).splitlines()) == 1
    assert source.num_skipped == 0
    assert list((tmp_path / "run" / "checkpoints").glob("step-*.index"))


# What is told at the start


def test_the_start_is_described(tmp_path, capsys):
    config = settings(tmp_path / "run", num_steps=20)
    training.describe(config, SOURCE, devices.strategy("one_device"), doing="Distils x from y.")
    text = capsys.readouterr().out
    for part in ("Distils x from y.", "10 of synthetic train, 32 px", "20 steps of 4", "8 epochs"):
        assert part in text
    assert "note" not in text


def test_what_of_the_images_may_surprise_is_told(tmp_path, capsys):
    for folder in ("train", "val"):
        (tmp_path / folder).mkdir()
        SOURCE.open(0, 0).save(tmp_path / folder / "a.png")
        (tmp_path / folder / "b.heic").touch()
    source = data.build("folder", data_dir=str(tmp_path))
    config = settings(tmp_path / "run", global_batch_size=2)
    training.describe(config, source, devices.strategy("one_device"), doing="Distils.")
    notes = [x for x in capsys.readouterr().out.splitlines() if x.startswith("  note      ")]
    assert len(notes) == 2
    assert notes[0].endswith(f"{tmp_path}: left out: 2 .heic")
    assert "no classes: train, val are names of splits" in notes[1]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_pictures_of_maps_in_half_precision(tmp_path, dtype):
    config = settings(tmp_path / "run")
    directory = RunDirectory(config.workdir, "distill", config)
    backbone = toys.backbone()
    networks = {"student": lambda images: keras.ops.cast(backbone(images / 255.0), dtype)}
    lines = [{"step": 1.0, "loss": 2.0}]
    training.draw(directory, SOURCE, lines, networks, image_size=8, chance=0.1)
    assert {path.name for path in directory.pictures.iterdir()} == {
        "curves.png",
        "principal_components.png",
        "similarity.png",
    }
