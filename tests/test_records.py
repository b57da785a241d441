"""JSON from outside becomes a record, or one line with the path of what does not fit."""

import math
from typing import Annotated

import msgspec
import pytest

from pcd_tf import records


class Toy(msgspec.Struct):
    sizes: list[Annotated[int, msgspec.Meta(gt=0)]]
    rate: float = 0.1


def read(tmp_path, content):
    (tmp_path / "toy.json").write_bytes(content)
    return records.read(tmp_path / "toy.json", Toy, what="a toy")


def test_a_record_is_read_and_unknown_keys_are_passed_over(tmp_path):
    assert read(tmp_path, b'{"sizes": [1, 2], "more": {}}') == Toy([1, 2])
    assert read(tmp_path, b'{"sizes": [], "rate": Infinity}').rate == math.inf  # as Keras writes


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "Expecting value"),
        (b'{"sizes": [1', "Expecting ',' delimiter"),
        (b"\xff\xfe{", "can't decode|Expecting"),
        (b"[" * 100_000, "recursion"),
        (b'{"sizes": [1' + b"0" * 5000 + b"]}", "integer string"),
        (b'{"sizes": [1, true]}', r"\.sizes\[1\]: expected a whole number, received true or false"),
        (b'{"sizes": [-1]}', r"\.sizes\[0\]: expected a whole number >= 1"),
        (b'{"sizes": [1], "rate": "x"}', r"\.rate: expected a number, received text"),
        (b"{}", "missing required field sizes"),
        (b" " * (2**24 + 1), "more than the 16777216 bytes"),
    ],
)
def test_what_does_not_fit_is_one_line(tmp_path, content, message):
    with pytest.raises(ValueError, match=rf"Expected a toy. Received: .*toy\.json.*{message}") as e:
        read(tmp_path, content)
    assert "\n" not in str(e.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere\.json, which is no file"):
        records.read(tmp_path / "nowhere.json", Toy, what="a toy")
