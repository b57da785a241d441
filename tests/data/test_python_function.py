"""A process ends while a stream with Python functions is still read from."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# The stream reads on and on, so that its threads wait for Python when the script is at its end:
# without the mend two of three such scripts hang.
SCRIPT = """
from pcd_tf.data._python_function import python_function
from pcd_tf.training import devices
strategy = devices.strategy("auto", num_virtual_devices={replicas})
import tensorflow as tf

def same(number):
    if number == {wrong}:
        raise ValueError("a wrong number")
    return number

def call(number):
    return tf.ensure_shape(python_function(same, [number], tf.int64), ())

stream = tf.data.Dataset.counter().map(call, num_parallel_calls=tf.data.AUTOTUNE)
stream = stream.batch(2).prefetch(10**6)
iterator = iter({iterator})
next(iterator)
"""
DISTRIBUTED = "strategy.experimental_distribute_dataset(stream)"
TIME_LIMIT = 120.0  # seconds, for what takes 5; a process that hangs never ends


@pytest.mark.parametrize(
    ("replicas", "iterator", "wrong", "status"),
    [
        (1, "stream", -1, 0),
        (1, "stream.as_numpy_iterator()", -1, 0),
        (1, DISTRIBUTED, 0, 1),  # its frames are in the traceback that Python keeps
        (2, DISTRIBUTED, -1, 0),
    ],
)
def test_a_script_ends(replicas, iterator, wrong, status):
    script = SCRIPT.format(replicas=replicas, iterator=iterator, wrong=wrong)
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIME_LIMIT,
    )
    assert done.returncode == status, done.stderr
    assert ("a wrong number" in done.stderr) == (status == 1)


def test_there_is_no_other_way_for_a_stream_to_call_python():
    calls = re.compile(r"\b(numpy_function|py_function|from_generator)\(")
    files = [file for file in (ROOT / "pcd_tf").rglob("*.py") if calls.search(file.read_text())]
    assert [file.name for file in files] == ["_python_function.py"]
