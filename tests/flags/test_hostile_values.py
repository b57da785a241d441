"""Whatever is typed as a value is taken or refused in words that name its flag."""

import contextlib
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

import flags
from pcd_tf import atomic
from pcd_tf.errors import UserError
from pcd_tf.settings import declared

VALUES = (
    *("", " ", "true", "none", "0", "-1", "1", "1.5", "1e5", "1e9", "1e308", "-1e308", "1e400"),
    *("nan", "inf", "-inf", "9" * 400, "9" * 5000, "0x10", "1,000", "1_000", "٣", "1e", "."),
    *("\0", "a\0b", "~\0", "\udcff", "a\udcff/b", "\x1b[2J", "a\nb", "\u202e", "~", "~nobody-here"),
    *("/no/such/place", "/etc/hosts/x", "/dev/null", "..", "x" * 300, "x/" * 3000, "x," * 3000),
    *("x" * 100_000, "P3=a,P3=b", "hf://x/y", "'\"", "{}", "%s", "--seed=1", ","),
)
ENORMOUS = ("1e9", "1e308", "9" * 400)
# Each is bounded, as the issue asks; and so is every other number.
BOUNDED = """num_steps num_epochs image_size queue_size batch_size global_batch_size seeds
num_virtual_devices log_every_steps checkpoint_every_steps eval_every_epochs warmup_epochs
learning_rate"""


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """By job, flags that can work."""
    root = tmp_path_factory.mktemp("given")
    for folder in ("photos", "run/student", "teacher"):
        (root / folder).mkdir(parents=True)
    (root / "run" / "config.json").write_text("{}")
    (root / "teacher" / "teacher.json").write_text("{}")
    images = {"dataset": "folder", "data_dir": f"{root}/photos"}
    boxes = {"workdir": f"{root}/new"}
    return {
        "prepare": {**images, "workdir": f"{root}/new", "show": f"{root}/x.png"},
        "pretrain": {**images, "workdir": f"{root}/new"},
        "distill": {**images, "workdir": f"{root}/new", "teacher_checkpoint": f"{root}/teacher"},
        "convert": {"teacher": "dinov2", "checkpoint": "x.pth", "workdir": f"{root}/new"},
        "embed": {**images, "model": f"{root}/run", "out": f"{root}/x.npz"},
        "evaluate": {**images, "init": "random", "out": f"{root}/x.json"},
        "export": {"workdir": f"{root}/run", "out": f"{root}/new"},
        "finetune": {**boxes, "init": "random"},
        "compare": {**boxes, "inits": f"random,{root}/run"},
    }


def settings():
    return [(name, e) for name in flags.names() for e in declared(flags.job(name).config_class)]


def outcome(job: str, given: dict[str, str]) -> Any:
    """The Config, or what is said against it."""
    arguments = [f"--{name}={value}" for name, value in given.items()]
    config: Any = flags.parse(flags.job(job), arguments)[0]
    try:
        config.validate()
    except UserError as error:
        return str(error)
    return config


@pytest.mark.parametrize("job", flags.names())
def test_the_flags_that_all_start_from_can_work(given, job):
    assert not isinstance(outcome(job, given[job]), str)


@pytest.mark.parametrize(("job", "entry"), settings(), ids=lambda x: getattr(x, "name", x))
def test_a_value_is_taken_or_its_flag_is_named(given, job, entry, tmp_path):
    for value in VALUES:
        found = outcome(job, given[job] | {entry.name: value})
        if isinstance(found, str):
            assert any(entry.name in line for line in found.splitlines()[1:]), (value, found)
            assert len(found) < 10_000, value
            assert found.replace("\n", "").isprintable(), value
            continue
        for num_examples in (1, 10**9):
            lengths_of(found, num_examples)
        atomic.write_json(tmp_path / "config.json", dataclasses.asdict(found))
        kept = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
        assert kept == dataclasses.asdict(found), value


def lengths_of(config: Any, num_examples: int) -> None:
    """What a job reckons out of its settings, once it knows its images."""
    for name in ("total_steps", "warmup_steps", "evaluate_every"):
        with contextlib.suppress(UserError):  # a warm-up longer than the run
            getattr(config, name, lambda _: None)(num_examples)


@pytest.mark.parametrize(("job", "entry"), settings(), ids=lambda x: getattr(x, "name", x))
def test_a_number_has_bounds_on_both_sides_and_a_reason_for_the_upper_one(job, entry):
    if entry.kind in (int, float):
        assert (entry.minimum, entry.above) != (None, None)
        assert entry.maximum is not None
        assert entry.maximum_reason.endswith(".")


@pytest.mark.parametrize(
    ("job", "name"),
    [(job, entry.name) for job, entry in settings() if entry.name in BOUNDED.split()],
)
@pytest.mark.parametrize("value", ENORMOUS)
def test_what_is_enormous_is_refused_before_anything_is_made(given, job, name, value):
    found = outcome(job, given[job] | {name: value})
    assert f"\n  {name}: expected " in found
    assert not list(Path(given["pretrain"]["workdir"]).parent.glob("new"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1e5", 100_000), ("65536.0", 65536), ("1E3", 1000), ("1_000", 1000), ("+5", 5)],
)
def test_whole_numbers_may_be_written_as_powers_of_ten(given, text, expected):
    assert outcome("pretrain", given["pretrain"] | {"num_steps": text}).num_steps == expected


@pytest.mark.parametrize("text", ["1.5", "1e-5", "1e400", "inf", "1e17.0", "e5"])
def test_what_is_no_whole_number_is_shown_as_it_was_typed(given, text):
    found = outcome("pretrain", given["pretrain"] | {"num_steps": text})
    assert (
        f"num_steps: expected a whole number, at least 1, at most 100000000. Received: {text!r}"
        in (found)
    )
