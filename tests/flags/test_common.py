"""Flags are made from a Config, and a Config from flags."""

import dataclasses
from pathlib import Path

import pytest

import flags
from pcd_tf.settings import Settings, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Walk(Settings):
    place: str = setting("hill", help="x", group="data", source="[ours]", choices=("hill", "lake"))
    start: str = setting("", help="x", group="data", source="[ours]", unit="directory")
    guide: str | None = setting(None, help="x", group="data", source="[ours]", when_none="none")
    steps: int = setting(1000, help="x", group="run", source="[ours]", minimum=1)
    speed: float = setting(1.5, help="x", group="run", source="[ours]")
    dog: bool = setting(True, help="x", group="run", source="[ours]")
    rests: int | None = setting(None, help="x", group="run", source="[ours]", when_none="none")


WALK = flags.Job(name="walk", summary="Walks.", example="", config_class=Walk, runner="none")


def parse(*arguments):
    return flags.parse(WALK, arguments)[0]


def test_without_flags_the_defaults_stand():
    assert parse() == Walk()


def test_values_get_the_types_that_the_config_declares():
    arguments = "--place=lake --start=/tmp --guide=Ann --steps=5 --speed=2 --nodog --rests=3"
    config = parse(*arguments.split())
    assert config == Walk(
        place="lake", start="/tmp", guide="Ann", steps=5, speed=2.0, dog=False, rests=3
    )
    assert isinstance(config.speed, float)


def test_values_may_stand_apart_and_the_last_one_counts():
    assert parse("--steps", "5", "--steps", "6").steps == 6


@pytest.mark.parametrize(
    ("text", "expected"),
    [("--dog", True), ("--dog=false", False), ("--dog=False", False), ("--nodog", False)],
)
def test_booleans(text, expected):
    assert parse(text).dog is expected


def test_an_empty_optional_flag_is_none():
    config = parse("--guide=", "--rests=")
    assert config.guide is None
    assert config.rests is None


def test_the_home_directory_is_understood_in_directories():
    assert parse("--start=~/walks").start == str(Path.home() / "walks")
    assert parse("--guide=~x").guide == "~x"


def test_a_value_of_another_kind_is_left_to_validate_with_all_the_others():
    config = parse("--steps=many", "--start=.", "--place=hil", "--rests=2.5", "--dog=perhaps")
    with pytest.raises(ValueError, match="4 settings cannot work") as caught:
        config.validate()
    assert "steps: expected a whole number, at least 1. Received: 'many'." in str(caught.value)
    assert "dog: expected true or false. Received: 'perhaps'." in str(caught.value)


def test_unknown_flags_are_all_named_each_with_the_nearest():
    with pytest.raises(flags.UsageError) as caught:
        parse("--step=3", "--speeed", "4", "--nocat", "--dog")
    assert str(caught.value).splitlines() == [
        "walk has no flag --step. Did you mean '--steps'?",
        "walk has no flag --speeed. Did you mean '--speed'?",
        "walk has no flag --nocat.",
        "See: main.py walk --help",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("uphill",), "Expected --flag=value. Received: 'uphill'."),
        (("--steps=5", "--"), "Expected --flag=value. Received: '--'."),
        (("--no-dog",), "walk has no flag --no-dog. Did you mean '--nodog'?"),
        (("--no_dog",), "walk has no flag --no_dog. Did you mean '--nodog'?"),
        (("--dog", "false"), "'false'. Write --dog or --nodog, --dog=true or --dog=false."),
        (("--guide", "false", "--dog", "false"), "Write --dog or --nodog"),
        (("--guide=Ann", "Lee"), "A value with spaces is put in quotes: '--guide=Ann Lee'."),
        (("--flagfle=x",), "Did you mean '--flagfile'?"),
        (("--steps",), "Missing value for flag --steps.\n"),
        (("--nodog=true",), "--nodog=true does not take an argument"),
        (("--flagfile=/no/such/file",), "/no/such/file"),
    ],
)
def test_what_cannot_be_read_is_a_usage_error(arguments, message):
    with pytest.raises(flags.UsageError) as caught:
        parse(*arguments)
    assert message in str(caught.value)
    assert "See: main.py walk --help" in str(caught.value)


def test_a_flagfile_is_read_and_overruled_by_later_flags(tmp_path):
    file = tmp_path / "walk.flags"
    file.write_text("# uphill\n--steps=7\n\n--nodog\n")
    config = parse(f"--flagfile={file}", "--steps=8")
    assert (config.steps, config.dog) == (8, False)


def test_debug_is_handed_back_beside_the_config():
    assert flags.parse(WALK, ["--debug"]) == (Walk(), True)
    assert flags.parse(WALK, []) == (Walk(), False)


def test_two_parsings_do_not_know_of_each_other():
    assert parse("--steps=5").steps == 5
    assert parse().steps == 1000


@pytest.mark.parametrize(
    ("given", "expected"),
    [("~/runs", str(Path.home() / "runs")), ("hf://keras/dinov3", "hf://keras/dinov3")],
)
def test_a_directory_has_its_home_filled_in_and_is_else_as_it_is(given, expected):
    assert parse(f"--start={given}").start == expected
