"""What a run goes on from when its checkpoints are damaged, and when the disk is full."""

import contextlib
import errno
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import pytest
import tensorflow as tf

from pcd_tf import atomic, checkpoint_files, files
from pcd_tf.errors import UserError
from pcd_tf.training import logs as run_logs
from pcd_tf.training.checkpoints import Checkpoints
from pcd_tf.training.loop import train

TOTAL = 8
STOPPED = 5  # with checkpoints of the steps 4 and 5


class Pull(keras.Model):
    """Pulls its weights towards each batch, by momentum: each loss depends on all steps before."""

    def __init__(self) -> None:
        super().__init__()
        self.pulled = self.add_weight(shape=(300,), initializer="ones")
        self.built = True

    def train_step(self, data: Any) -> dict[str, Any]:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((self.pulled.value - data) ** 2)
        gradients = tape.gradient(loss, self.trainable_weights)
        self.optimizer.apply(gradients, self.trainable_weights)
        return {"loss": loss}


def run(folder: Path, stop: int) -> dict[int, float]:
    """Trains from the last checkpoint to a step; returns the losses that the run has logged."""
    model = Pull()
    optimizer: Any = keras.optimizers.SGD(0.1, momentum=0.9)
    model.compile(optimizer=optimizer, jit_compile=False)
    checkpoints = Checkpoints(folder / "checkpoints", model)
    first = checkpoints.restore()
    counts = {"first_step": first, "total_steps": stop, "global_batch_size": 1}
    with run_logs.Logs(folder / "metrics.jsonl", folder / "tensorboard", **counts) as logs:
        train(
            model,
            tf.data.Dataset.range(first, TOTAL).map(lambda step: tf.cast(step, tf.float32)),
            steps=range(first, stop),
            checkpoints=checkpoints,
            logs=logs,
            log_every=1,
            checkpoint_every=2,
        )
    lines = run_logs.read(folder / "metrics.jsonl")
    return {int(line["step"]): line["loss"] for line in lines}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[int, float]:
    """The losses of a run that nothing interrupts."""
    losses = run(tmp_path_factory.mktemp("whole"), TOTAL)
    assert list(losses) == list(range(1, TOTAL + 1))
    return losses


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """The checkpoints of a run that was stopped; its folder is above."""
    run(tmp_path, STOPPED)
    return tmp_path / "checkpoints"


def flip(place: float) -> Any:
    def damage(content: bytes) -> bytes:
        at = int(place * (len(content) - 1))
        return content[:at] + bytes([content[at] ^ 16]) + content[at + 1 :]

    return damage


DAMAGES: dict[str, tuple[str, Any]] = {
    "data cut by a byte": ("step-5.data*", lambda content: content[:-1]),
    "data cut in the middle": ("step-5.data*", lambda content: content[: len(content) // 2]),
    "data empty": ("step-5.data*", lambda content: b""),
    "data zeroed": ("step-5.data*", lambda content: bytes(len(content))),
    "a block of data zeroed": ("step-5.data*", lambda c: c[:512] + bytes(512) + c[1024:]),
    "first bit of data flipped": ("step-5.data*", flip(0)),
    "a bit of data flipped": ("step-5.data*", flip(0.5)),
    "last bit of data flipped": ("step-5.data*", flip(1)),
    "data missing": ("step-5.data*", None),
    "index cut by a byte": ("step-5.index", lambda content: content[:-1]),
    "index empty": ("step-5.index", lambda content: b""),
    "index zeroed": ("step-5.index", lambda content: bytes(len(content))),
    "a bit of the index flipped": ("step-5.index", flip(0.5)),
    "last bit of the index flipped": ("step-5.index", flip(1)),
    "index missing": ("step-5.index", None),
}


@pytest.mark.parametrize(("pattern", "damage"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_is_passed_over_by_name(
    stopped: Path, whole: dict[int, float], caplog, pattern: str, damage: Any
):
    (file,) = stopped.glob(pattern)
    if damage is None:
        file.unlink()
    else:
        file.write_bytes(damage(file.read_bytes()))
    assert checkpoint_files.newest_whole(stopped, "step")[0] == 4
    assert run(stopped.parent, TOTAL) == whole
    (message,) = (record.getMessage() for record in caplog.records)
    assert message.startswith(f"Removes the damaged checkpoint {stopped / 'step-5'}: ")
    assert len(message.partition("step-5: ")[2]) > 10
    assert sorted(file.name for file in stopped.glob("*.index")) == ["step-6.index", "step-8.index"]
    assert not list(stopped.glob("step-5*"))


def test_a_damaged_checkpoint_takes_no_whole_ones_place(stopped: Path, whole: dict[int, float]):
    (stopped / "step-5.index").write_bytes(b"")
    run(stopped.parent, 6)
    assert sorted(file.name for file in stopped.glob("*.index")) == ["step-4.index", "step-6.index"]


@pytest.mark.parametrize("pattern", ["step-5.data*", "step-5.index"])
@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.EACCES, errno.ENOENT])
def test_what_the_system_says_is_no_damage(stopped: Path, monkeypatch, pattern: str, number: int):
    """It lasts for a while, or for a user; ENOENT is a file that vanished meanwhile."""
    (failing,) = stopped.glob(pattern)
    opened = files.opened

    def refusing(path: Path) -> Any:
        if path == failing:
            raise OSError(number, os.strerror(number), str(path))
        return opened(path)

    monkeypatch.setattr(files, "opened", refusing)
    monkeypatch.setattr(files, "PAUSES", (0,))
    before = {file.name: file.read_bytes() for file in stopped.iterdir()}
    with pytest.raises(UserError, match=failing.name):
        run(stopped.parent, TOTAL)
    assert {file.name: file.read_bytes() for file in stopped.iterdir()} == before


def test_a_folder_that_vanishes_is_no_damage(stopped: Path, monkeypatch):
    monkeypatch.setattr(checkpoint_files, "_steps", lambda *_: [4, 5])
    stopped.rename(stopped.with_name("away"))
    with pytest.raises(FileNotFoundError):
        checkpoint_files.find(stopped, "step")


@pytest.mark.parametrize("content", [b"", bytes(range(256)), b"no list", None])
def test_the_list_of_checkpoints_is_not_needed(
    stopped: Path, whole: dict[int, float], caplog, content: bytes | None
):
    if content is None:
        (stopped / "checkpoint").unlink()
    else:
        (stopped / "checkpoint").write_bytes(content)
    assert checkpoint_files.newest_whole(stopped, "step") == (5, {})
    assert run(stopped.parent, TOTAL) == whole
    assert not caplog.records
    assert tf.train.latest_checkpoint(str(stopped)) == str(stopped / "step-8")


def test_where_none_is_whole_it_is_an_error_and_nothing_is_touched(stopped: Path):
    for file in stopped.glob("*.data*"):
        file.write_bytes(b"")
    before = {file.name: file.read_bytes() for file in stopped.iterdir()}
    with pytest.raises(UserError, match="Expected a checkpoint that is whole .* Received: 2, all"):
        run(stopped.parent, TOTAL)
    assert {file.name: file.read_bytes() for file in stopped.iterdir()} == before


def test_torn_folders_are_cleared_at_the_start(stopped: Path, whole: dict[int, float]):
    (stopped / "step-6_temp").mkdir()
    (stopped / "step-6_temp" / "part-00000-of-00001.data-00000-of-00001").touch()
    run(stopped.parent, STOPPED)
    assert not list(stopped.glob("*_temp"))


def test_a_checkpoint_that_tensorflows_manager_wrote_is_gone_on_from(
    tmp_path: Path, whole: dict[int, float], monkeypatch
):
    """As earlier releases of this project did."""

    def as_before(checkpoint: Any, directory: Path, name: str, step: int) -> None:
        manager = tf.train.CheckpointManager(
            checkpoint, str(directory), max_to_keep=2, checkpoint_name=name
        )
        manager.save(checkpoint_number=step)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_files, "write", as_before)
        run(tmp_path, STOPPED)
    assert run(tmp_path, TOTAL) == whole


def test_a_checkpoint_is_on_the_disk_before_an_earlier_one_is_removed(tmp_path: Path, monkeypatch):
    flushed: set[str] = set()
    remove = checkpoint_files._remove

    def removing(directory: Path, name: str, step: int) -> None:
        newest = {file.name for file in directory.glob(f"{name}-{step + 4}.*")}
        assert len(newest) == 2
        assert newest | {"checkpoints"} <= flushed
        remove(directory, name, step)

    def flushing(path: Path) -> None:
        flushed.add(path.name)
        flush(path)

    flush = atomic.flush
    monkeypatch.setattr(atomic, "flush", flushing)
    monkeypatch.setattr(checkpoint_files, "_remove", removing)
    run(tmp_path, 6)
    assert "step-2.index" in flushed
    assert not list((tmp_path / "checkpoints").glob("step-2.*"))


def test_the_lines_before_a_checkpoint_are_on_the_disk_when_it_is_written(
    tmp_path: Path, monkeypatch
):
    flush, write, flushed = atomic.flush, checkpoint_files.write, []

    def flushing(path: Path) -> None:
        flush(path)
        if path.name == "metrics.jsonl":
            flushed.append(len(path.read_text().splitlines()))

    def writing(checkpoint: Any, directory: Path, name: str, step: int) -> None:
        assert flushed[-1] == step
        write(checkpoint, directory, name, step)

    monkeypatch.setattr(atomic, "flush", flushing)
    monkeypatch.setattr(checkpoint_files, "write", writing)
    run(tmp_path, STOPPED)
    assert flushed == [2, 4, 5]  # once a checkpoint, not once a line


@contextlib.contextmanager
def disk_full(size: int) -> Iterator[None]:
    """Lets no file of this process grow beyond a size, in bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_while_a_checkpoint_is_written_does_no_harm(
    tmp_path: Path, whole: dict[int, float], monkeypatch
):
    write = checkpoint_files.write

    def full_at_four(checkpoint: Any, directory: Path, name: str, step: int) -> None:
        with disk_full(1000) if step == 4 else contextlib.nullcontext():
            write(checkpoint, directory, name, step)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_files, "write", full_at_four)
        with pytest.raises(UserError, match="The disk is full, .* the same command then goes on"):
            run(tmp_path, TOTAL)
    assert {file.name for file in (tmp_path / "checkpoints").iterdir()} == {
        "checkpoint",
        "step-2.data-00000-of-00001",
        "step-2.index",
    }
    assert run(tmp_path, TOTAL) == whole


def test_a_line_half_written_on_a_full_disk_does_no_harm(
    tmp_path: Path, whole: dict[int, float], monkeypatch, caplog
):
    append = run_logs.append

    def full_at_six(stream: Any, line: Any) -> None:
        room = Path(stream.name).stat().st_size + 12
        with disk_full(room) if line["step"] == 6 else contextlib.nullcontext():
            append(stream, line)

    with monkeypatch.context() as patch:
        patch.setattr(run_logs, "append", full_at_six)
        with pytest.raises(UserError, match="The disk is full, .*File too large"):
            run(tmp_path, TOTAL)
    metrics = tmp_path / "metrics.jsonl"
    with metrics.open("rb+") as stream:  # what was left in the buffer is written when it is closed
        stream.truncate(sum(map(len, metrics.read_bytes().splitlines(keepends=True)[:5])) + 12)
    assert run(tmp_path, TOTAL) == whole
    assert "line 6 of" in caplog.text
    assert len(metrics.read_text().splitlines()) == TOTAL
