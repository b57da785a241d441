"""Names and messages from outside."""

import types
from pathlib import Path

import msgspec
import pytest

from pcd_tf import outside
from pcd_tf.errors import UserError


def source(name, *class_names):
    return types.SimpleNamespace(name=name, class_names=class_names)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("cat", "cat"),
        ("  red   cat\n", "red cat"),
        ("\x1b]0;title\x07cat", "]0;titlecat"),
        ("\u202etac", "tac"),
        ("chat d\u2019\u00e9t\u00e9 \u732b", "chat d\u2019\u00e9t\u00e9 \u732b"),
        ("\x00\x1b\ud800", ""),
    ],
)
def test_what_a_terminal_would_obey_is_taken_out(name, shown):
    assert outside.plain(name) == shown


@pytest.mark.parametrize("name", ["../a.png", "a/../../b.png", "/etc/passwd", "", ".", "\0.png"])
def test_names_that_lead_outside_are_refused(name):
    with pytest.raises(UserError, match="inside the data directory in boxes.json. Received: "):
        outside.relative(name, "boxes.json")


@pytest.mark.parametrize(
    "name",
    [
        "deep/a b.png",
        "Screenshot 9.41\u202fAM.png",  # as macOS writes it
        "\u30d5\u30a1\u30a4\u30eb\u30001.png",  # an ideographic space
        "no\u00a0break.png",
        "soft\u00adhyphen.png",
        "\U0001f469\u200d\U0001f52c.png",  # one picture of two, joined
    ],
)
def test_names_of_files_may_have_any_characters(name):
    assert outside.relative(name, "boxes.json") == Path(name)


def test_faults_of_json_are_said_in_plain_words():
    with pytest.raises(msgspec.ValidationError) as raised:
        msgspec.json.decode(b'{"a": [1, "x"]}', type=dict[str, list[int]])
    assert outside.fault(raised.value) == "[...][1]: expected a whole number, received text"


def test_classes_that_differ_are_shown_and_not_the_rest():
    outside.check_same_classes(source("train", "cat", "dog"), source("val", "cat", "dog"))
    common = [f"class{i}" for i in range(80)]
    with pytest.raises(UserError) as raised:
        outside.check_same_classes(
            source("train", *common, "dog"), source("val", *common, *"abcdefg")
        )
    assert "dog only in train; a, b, c, d, e and 2 more only in val." in str(raised.value)
    assert "class7" not in str(raised.value)
    with pytest.raises(UserError, match="Received: another order."):
        outside.check_same_classes(source("train", "cat", "dog"), source("val", "dog", "cat"))
