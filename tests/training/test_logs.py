"""metrics.jsonl, TensorBoard and the progress bar."""

import json
import os
import time

import pytest
import tensorflow as tf

from pcd_tf.training import logs as run_logs


def open_logs(tmp_path, first_step=0):
    return run_logs.Logs(
        tmp_path / "metrics.jsonl",
        tmp_path / "tensorboard",
        first_step=first_step,
        total_steps=10,
        global_batch_size=4,
    )


def run(logs, steps):
    for step in steps:
        time.sleep(0.002)
        logs.advance(waited=0.001)
        logs.write(step, {"loss": 10.0 - step, "retrieval_top1": step / 10})


def test_lines_are_json_with_speed_and_share_of_waiting(tmp_path, capsys):
    with open_logs(tmp_path) as logs:
        run(logs, (1, 2, 3))
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == run_logs.read(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert [line["loss"] for line in lines] == [9.0, 8.0, 7.0]
    for line in lines:
        assert 0 < line["data_wait"] < 1
        assert 0 < line["images_per_second"] <= 4 / 0.002
        assert abs(line["time"] - time.time()) < 60
    bar = capsys.readouterr().err
    for text in ("3/10", "loss 7.000", "top-1 30.0%", "images/s", "data wait"):
        assert text in bar


def test_lines_are_there_while_the_run_goes_on(tmp_path):
    with open_logs(tmp_path) as logs:
        run(logs, (1,))
        assert [line["step"] for line in run_logs.read(tmp_path / "metrics.jsonl")] == [1]


def test_tensorboard_reads_the_same(tmp_path):
    with open_logs(tmp_path) as logs:
        run(logs, (1, 2))
    (path,) = (tmp_path / "tensorboard").iterdir()
    found = {}
    for record in tf.data.TFRecordDataset(str(path)):
        event = tf.compat.v1.Event.FromString(record.numpy())
        for value in event.summary.value:
            found[value.tag, event.step] = float(tf.make_ndarray(value.tensor))
    assert found["loss", 1] == 9.0
    assert found["loss", 2] == 8.0
    assert found["retrieval_top1", 2] == pytest.approx(0.2)
    assert {name for name, _ in found} == {
        "loss",
        "retrieval_top1",
        "images_per_second",
        "data_wait",
    }


def test_the_files_are_closed_after_an_error(tmp_path):
    logs = open_logs(tmp_path)
    with pytest.raises(ZeroDivisionError), logs:
        logs.advance(1 / 0)
    assert logs._file.closed


def test_a_last_line_cut_off_is_left_out_and_written_over(tmp_path):
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_text('{"step": 1, "loss": 9.0}\n{"step": 2, "loss": 8.0}\n{"step": 3, "lo')
    assert [line["step"] for line in run_logs.read(metrics)] == [1, 2]
    with open_logs(tmp_path, first_step=2) as logs:
        run(logs, (3,))
    assert [line["step"] for line in run_logs.read(metrics)] == [1, 2, 3]
    assert len(metrics.read_text().splitlines()) == 3


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"{",
        b"null",
        b"[1]",
        b"\0" * 5000,
        b"\xff\xfe",
        b'{"loss": 8.0}',
        b'{"step": 2.5, "loss": 8.0}',
        b'{"step": 2, "loss": "8.0"}',
        b'{"step": true}',
        b'{"step": 2, "loss": NaN}',
        b"[" * 100_000,
    ],
)
def test_a_damaged_line_is_passed_over_by_name_and_those_after_it_are_kept(
    tmp_path, caplog, damaged
):
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_bytes(b'{"step": 1, "loss": 9}\n' + damaged + b'\n{"step": 3, "loss": 7.5}\n')
    run_logs.drop_lines_after(metrics, 3)
    assert f"line 2 of {metrics}" in caplog.text
    assert metrics.read_text() == '{"step": 1, "loss": 9}\n{"step": 3, "loss": 7.5}\n'
    caplog.clear()
    assert [line["step"] for line in run_logs.read(metrics)] == [1, 3]
    assert not caplog.records


def test_lines_are_on_the_disk_and_rewritten_as_a_whole(tmp_path, monkeypatch):
    with open_logs(tmp_path) as logs:
        run(logs, (1, 2))
    metrics = tmp_path / "metrics.jsonl"
    before = metrics.read_bytes()

    def killed(number):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", killed)
        with pytest.raises(KeyboardInterrupt):
            run_logs.drop_lines_after(metrics, 1)
    assert metrics.read_bytes() == before
    assert not (tmp_path / ".metrics.jsonl").exists()


def test_a_resumed_run_replaces_the_lines_after_its_checkpoint(tmp_path):
    with open_logs(tmp_path) as logs:
        run(logs, (1, 2, 3, 4))
    old = run_logs.read(tmp_path / "metrics.jsonl")
    with open_logs(tmp_path, first_step=2) as logs:
        run(logs, (3, 4, 5))
    new = run_logs.read(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in new] == [1, 2, 3, 4, 5]
    assert new[:2] == old[:2]
    assert new[2]["time"] > old[3]["time"]


def test_no_file_is_no_lines(tmp_path):
    assert run_logs.read(tmp_path / "metrics.jsonl") == []
