"""What a job is to the command line, and how a Config becomes flags and flags a Config."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from pcd_tf import plugins
from pcd_tf.errors import UserError
from pcd_tf.settings import Setting, Settings, declared

HELP_FLAGS = ("--help", "-help", "-h", "--helpfull", "--helpshort")


class UsageError(UserError):
    """The command line cannot be understood; the message says what to type instead."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """One job of main.py.

    Args:
        name: what it is called on the command line.
        summary: what it does, in one line.
        example: flags that a newcomer can adapt.
        config_class: its settings.
        runner: module with `run(config)`; imported only when the job runs.
    """

    name: str
    summary: str
    example: str
    config_class: type[Settings]
    runner: str


def parse(job: Job, arguments: Sequence[str]) -> tuple[Settings, bool]:
    """Reads the flags of a job.

    Args:
        job: whose flags.
        arguments: what follows the job's name on the command line.

    Returns:
        The job's Config, not yet validated, and whether --debug was given.

    Raises:
        UsageError: for unknown flags, naming the nearest, for stray words and missing values.
    """
    values = flags.FlagValues()  # type: ignore[no-untyped-call]
    values.set_gnu_getopt(True)
    entries = declared(job.config_class)
    for entry in entries:
        _define(entry, values)
    flags.DEFINE_boolean("debug", False, "Shows where an error was raised.", flag_values=values)
    try:
        _, *rest = values([job.name, *arguments], known_only=True)
    except (flags.Error, ValueError) as error:
        raise UsageError(f"{error}\nSee: main.py {job.name} --help") from error
    _refuse(rest, job.name, tuple(values))
    chosen = {entry.name: _plain(entry, values[entry.name].value) for entry in entries}
    return job.config_class(**chosen), bool(values["debug"].value)


class _Lenient(flags.ArgumentParser[Any]):
    """Reads a number, or leaves the text for Config.validate, which names all problems at once."""

    def __init__(self, kind: type) -> None:
        self.kind = kind

    def parse(self, argument: Any) -> Any:
        try:
            return self.kind(argument)
        except ValueError:
            return argument


def _define(entry: Setting, values: flags.FlagValues) -> None:
    if entry.kind is bool:
        flags.DEFINE_boolean(entry.name, entry.default, entry.help, flag_values=values)
    else:
        parser = _Lenient(entry.kind)
        flags.DEFINE(parser, entry.name, entry.default, entry.help, flag_values=values)


def _plain(entry: Setting, value: Any) -> Any:
    """Turns an empty optional flag into None, and the `~` of a path into the home."""
    if value == "":
        return None if entry.optional else value
    if isinstance(value, str) and entry.unit in ("directory", "path"):
        # Only then: Path would take one slash of an address such as hf://NAME.
        return str(Path(value).expanduser()) if value.startswith("~") else value
    return value


def _refuse(rest: Sequence[str], job_name: str, known: Sequence[str]) -> None:
    """Raises for what absl left over: flags nobody knows, else words that are no flags."""
    unknown = [word.lstrip("-").partition("=")[0] for word in rest if word.startswith("-")]
    problems = [
        f"{job_name} has no flag --{name}."
        + plugins.did_you_mean(f"--{name}", [f"--{flag}" for flag in (*known, "flagfile")])
        for name in unknown
    ] or [f"Expected --flag=value. Received: {word!r}." for word in rest]
    if problems:
        raise UsageError("\n".join([*problems, f"See: main.py {job_name} --help"]))
