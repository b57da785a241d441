"""What a job is to the command line, and how a Config becomes flags and flags a Config."""

import dataclasses
import itertools
import shlex
from collections.abc import Callable, Sequence
from typing import Any

from absl import flags

from flags import _flagfile
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
        UsageError: for unknown flags, naming the nearest, for stray words and missing values, and
            for a flagfile that cannot be read.
    """
    values = flags.FlagValues()  # type: ignore[no-untyped-call]
    values.set_gnu_getopt(True)
    entries = declared(job.config_class)
    for entry in entries:
        _define(entry, values)
    flags.DEFINE_boolean("debug", False, "Shows where an error was raised.", flag_values=values)
    try:
        words = list(_flagfile.expanded(arguments))
        _, *rest = values([job.name, *words], known_only=True)
    except (flags.Error, ValueError) as error:
        message = str(error).removesuffix(".")  # absl's have none
        raise UsageError(f"{message}.\nSee: main.py {job.name} --help") from error
    _refuse(rest, words, job.name, values)
    chosen = {}
    for entry in entries:
        value = values[entry.name].value
        chosen[entry.name] = None if entry.optional and value == "" else value
    return job.config_class(**chosen), bool(values["debug"].value)


def _whole_number(text: Any) -> int:
    """Reads 100000, 1e5 or 65536.0."""
    try:
        return int(text)
    except ValueError:
        number = float(text)
        if number.is_integer() and abs(number) < _EXACT:
            return int(number)
        raise


_EXACT = 2**53  # below, a float holds every whole number
_READERS: dict[type, Callable[[Any], Any]] = {
    bool: flags.BooleanParser().parse,
    int: _whole_number,
    float: float,
    str: str,
}


class _Lenient(flags.ArgumentParser[Any]):
    """Reads a value, or leaves the text for Config.validate, which names all problems at once."""

    def __init__(self, kind: type) -> None:
        self.kind = kind

    def parse(self, argument: Any) -> Any:
        try:
            return _READERS[self.kind](argument)
        except ValueError:
            return argument


def _define(entry: Setting, values: flags.FlagValues) -> None:
    is_boolean = entry.kind is bool
    flag = flags.Flag(
        _Lenient(entry.kind), None, entry.name, entry.default, entry.help, boolean=is_boolean
    )
    flags.DEFINE_flag(flag, flag_values=values)


def _refuse(
    rest: Sequence[str], words: Sequence[str], job_name: str, values: flags.FlagValues
) -> None:
    """Raises for what absl left over: flags nobody knows, else words that are no flags."""
    booleans = [name for name in values if values[name].boolean]
    negations = [f"no{name}" for name in booleans]
    known = [f"--{name}" for name in (*values, *negations, "flagfile", "help")]
    unknown = [word.lstrip("-").partition("=")[0] for word in rest if word.startswith("-")]
    problems = [
        f"{job_name} has no flag --{name}.{plugins.did_you_mean(f'--{name}', known)}"
        for name in filter(None, unknown)
    ] or [
        f"Expected --flag=value. Received: {word!r}.{_hint(word, words, booleans)}" for word in rest
    ]
    if problems:
        raise UsageError("\n".join([*problems, f"See: main.py {job_name} --help"]))


def _hint(word: str, words: Sequence[str], booleans: Sequence[str]) -> str:
    """Says how to write the flag before a stray word, if that is a part of it."""
    for before, after in itertools.pairwise(words):
        name, equals, _ = before.lstrip("-").partition("=")
        if after != word or not before.startswith("-"):
            continue
        if equals:
            return f" A value with spaces is put in quotes: {shlex.quote(f'{before} {word}')}."
        if name in booleans:
            return f" Write --{name} or --no{name}, --{name}=true or --{name}=false."
    return ""
