"""Packages that only some formats need."""

from pathlib import Path

import pytest

from export import _packages, onnx
from pcd_tf.errors import UserError


def test_what_is_installed_is_enough():
    _packages.require(("numpy>=1,<9", "keras-hub"), "onnx")


def test_only_what_is_missing_is_named_with_its_bounds():
    with pytest.raises(UserError) as caught:
        _packages.require(("numpy>=1", "no-such-runtime>=2,<3", "nor_this"), "onnx")
    assert str(caught.value) == (
        "Expected the packages of --format=onnx. Received: an environment without "
        "no_such_runtime, nor_this. Run: pip install 'no-such-runtime>=2,<3' 'nor_this'"
    )


def test_the_file_of_requirements_is_what_the_format_asks_for():
    file = Path(__file__).parents[2] / "requirements-onnx.txt"
    lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
    assert sorted(lines) == sorted(onnx.PACKAGES)
