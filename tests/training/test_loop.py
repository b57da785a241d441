"""When the loop asks for an evaluation, and what comes of the answer."""

import os
import signal
from typing import Any

import keras
import pytest
import tensorflow as tf

from pcd_tf import data
from pcd_tf.errors import UserError
from pcd_tf.training.checkpoints import Checkpoints
from pcd_tf.training.logs import Logs
from pcd_tf.training.loop import train
from tests.data import coco_files


class Counter(keras.Model):
    """Adds one to its weight at each step."""

    def __init__(self):
        super().__init__()
        self.weight = self.add_weight(shape=(), initializer="zeros")
        self.built = True

    def train_step(self, data: Any) -> dict[str, Any]:
        self.weight.assign_add(1.0)
        return {"loss": 0.0 * tf.reduce_sum(data)}


@pytest.fixture
def run(tmp_path):
    """Runs steps, and notes (steps done, the weight) at each evaluation."""

    ones = tf.data.Dataset.from_tensors(tf.ones(1)).repeat()

    def run(steps, answer=lambda done: False, batches=ones):
        model = Counter()
        model.compile(optimizer="sgd", jit_compile=False)
        checkpoints = Checkpoints(tmp_path / "checkpoints", model)
        checkpoints.restore()
        seen = []

        def evaluate(done):
            seen.append((done, float(model.weight)))
            return answer(done)

        files = (tmp_path / "metrics.jsonl", tmp_path / "tensorboard")
        total = {"first_step": steps.start, "total_steps": steps.stop, "global_batch_size": 1}
        with Logs(*files, **total) as logs:
            train(
                model,
                batches,
                steps=steps,
                checkpoints=checkpoints,
                logs=logs,
                log_every=100,
                checkpoint_every=100,
                evaluate_every=2,
                evaluate=evaluate,
            )
        return seen

    return run


def test_it_evaluates_at_multiples_and_at_the_end(run):
    assert run(range(5)) == [(2, 2.0), (4, 4.0), (5, 5.0)]


def test_an_answer_ends_the_run_and_the_checkpoint_is_of_that_step(run):
    assert run(range(9), lambda done: done == 4) == [(2, 2.0), (4, 4.0)]
    assert run(range(4, 9), lambda done: True) == [(4, 4.0)]  # resumed there, it ends at once


@pytest.mark.parametrize(("stopped_at", "resumed"), [(4, [(4, 4.0), (5, 5.0)]), (5, [(5, 5.0)])])
def test_a_signal_while_evaluating_is_heard_and_no_evaluation_is_lost(run, stopped_at, resumed):
    def answer(done):
        if done == stopped_at:
            os.kill(os.getpid(), signal.SIGTERM)
        return False

    with pytest.raises(KeyboardInterrupt):
        run(range(5), answer)
    assert run(range(stopped_at, 5)) == resumed


def test_an_annotated_image_that_is_damaged_is_named_and_the_last_checkpoint_kept(run, tmp_path):
    coco_files.write(tmp_path, coco_files.content())
    source = data.build_annotated("coco_json", data_dir=str(tmp_path), split="val")
    stream = data.annotated_batches(
        source, data.NO_AUGMENTATION, image_size=32, global_batch_size=1, seed=0
    ).map(lambda batch: tf.cast(batch["images"], tf.float32))

    def damage(done):
        (tmp_path / "first.png").write_bytes(b"no image")
        return False

    with pytest.raises(UserError, match=r"Cannot decode .*/first\.png") as caught:
        run(range(99), damage, stream)
    assert len(str(caught.value).splitlines()) == 1
    assert list((tmp_path / "checkpoints").glob("step-*.index"))
