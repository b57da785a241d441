"""The help texts of main.py, made from what the jobs and their settings declare."""

import textwrap
from collections.abc import Iterable, Iterator

from flags.common import Job
from pcd_tf.settings import GROUPS, PATHS, SOURCES, Setting, declared

_WIDTH = 96
_PLACEHOLDERS = {int: "INT", float: "NUMBER", str: "TEXT"}
_EVERY_JOB = """\
  --flagfile=FILE
      Reads flags from a file, quoted as in a shell; a line that begins with # is a comment.
      Flags that come after it on the command line win.
  --debug
      Shows where an error was raised.
  --help
      Shows this."""


def overview(jobs: Iterable[Job]) -> str:
    """Lists the jobs, each with what it does and an example."""
    lines = [
        "Pixel-Wise Contrastive Distillation.",
        "",
        "Usage: python main.py JOB --flag=value ...",
    ]
    for job in jobs:
        lines += ["", f"{job.name}: {job.summary}", *_example(job)]
    return "\n".join([*lines, "", "The flags of a job: python main.py JOB --help"])


def help_of(job: Job) -> str:
    """Describes the flags of a job, by group: meaning, default, unit, choices and source."""
    lines = [job.summary, "", "Example:", *_example(job)]
    entries = declared(job.config_class)
    for group in GROUPS:
        described = [line for entry in entries if entry.group == group for line in _describe(entry)]
        if described:
            lines += ["", f"{group.capitalize()}:", *described]
    used = {entry.source for entry in entries}
    sources = [f"  {tag} {text}" for tag, text in SOURCES.items() if tag in used]
    return "\n".join([*lines, _EVERY_JOB, "", "Where defaults come from:", *sources])


def _example(job: Job) -> list[str]:
    command = f"python main.py {job.name} {job.example}"
    lines = textwrap.wrap(command, _WIDTH - 6, break_on_hyphens=False, break_long_words=False)
    return textwrap.indent(" \\\n  ".join(lines), "  ").splitlines()


def _describe(entry: Setting) -> Iterator[str]:
    # A long list of choices goes on in further lines, broken behind its bars.
    signature = textwrap.wrap(
        _signature(entry).replace("|", "| "),
        _WIDTH,
        initial_indent="  ",
        subsequent_indent=" " * 10,
        break_on_hyphens=False,
        break_long_words=False,
    )
    yield from (line.replace("| ", "|") for line in signature)
    limits = f"{entry.limits[:1].upper()}{entry.limits[1:]}." if entry.limits else ""
    text = " ".join(filter(None, [entry.help, limits, _default(entry), entry.source]))
    indent = " " * 6
    yield from textwrap.wrap(
        text, _WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )


def _signature(entry: Setting) -> str:
    if entry.kind is bool:
        return f"--[no]{entry.name}"
    if entry.choices:
        return f"--{entry.name}={'|'.join(entry.choices)}"
    return f"--{entry.name}={PATHS.get(entry.unit, _PLACEHOLDERS[entry.kind])}"


def _default(entry: Setting) -> str:
    if entry.default is None:
        return f"Default: {entry.when_none}."
    if entry.default == "":
        return "Required."
    shown = str(entry.default).lower() if entry.kind is bool else entry.default
    unit = "" if entry.unit in PATHS else entry.unit
    return f"Default: {shown} {unit}".rstrip() + "."
