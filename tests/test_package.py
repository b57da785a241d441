"""What importing the package settles for TensorFlow, which reads it once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NAME = "TF_ENABLE_ONEDNN_OPTS"
FIRST = "import os, pcd_tf; print(os.environ['TF_ENABLE_ONEDNN_OPTS'])"
LATER = f"import sys; sys.modules['tensorflow'] = object(); {FIRST}"  # TensorFlow takes seconds


def imported(code, value):
    environment = {name: text for name, text in os.environ.items() if name != NAME}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**environment, **({} if value is None else {NAME: value})},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip(), done.stderr


@pytest.mark.parametrize(("value", "expected"), [(None, "1"), ("0", "0"), ("1", "1")])
def test_onednn_is_on_unless_it_was_settled(value, expected):
    assert imported(FIRST, value) == (expected, "")


def test_a_tensorflow_that_came_first_is_warned_of():
    _, warned = imported(LATER, None)
    assert "TensorFlow was imported before pcd_tf" in warned
    assert f"Import pcd_tf first, or set {NAME}=1" in warned


def test_no_warning_where_it_was_settled_before_tensorflow_came():
    assert imported(LATER, "0") == ("0", "")
