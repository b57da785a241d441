"""Chooses a job, reads its flags and runs it: `python main.py JOB --flag=value ...`."""

import contextlib
import importlib
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

import flags
from pcd_tf import errors, run_config
from pcd_tf.training import interrupts

BUG = 1
FAILED = 2
SIGNALLED = 128  # and the signal's number: how shells number a process that one ended


def main(arguments: Sequence[str]) -> int:
    """Runs one job.

    Args:
        arguments: the command line without the program's name: a job, then its flags.

    Returns:
        The exit status: 0 when all went well, 1 for a bug, 2 when the user can put it right; 130,
        143 or 129 when the keyboard, SIGTERM or a closed terminal stopped it.
    """
    name, *rest = arguments or ["help"]
    if name == "help" and rest:
        name, *rest = [*rest, "--help"]
    debug, workdir = "--debug" in rest, None
    try:
        if name in ("help", *flags.HELP_FLAGS):
            print(flags.overview())
            return 0
        job = flags.job(name)
        if set(rest) & set(flags.HELP_FLAGS):
            print(flags.help_of(job))
            return 0
        config, debug = flags.parse(job, rest)
        config.validate()
        workdir = getattr(config, "workdir", None)
        _prepare_environment()
        with interrupts.raised():
            importlib.import_module(job.runner).run(config)
    except KeyboardInterrupt as error:
        number = getattr(error, "number", signal.SIGINT)
        by = "the keyboard" if number == signal.SIGINT else signal.Signals(number).name
        return _report(
            f"Stopped by {by}. The same command resumes a training run or an embedding.",
            SIGNALLED + number,
        )
    except Exception as error:
        if debug:
            raise
        message = errors.explanation(error)
        return _report(message, FAILED) if message else _report(_bug(error, workdir), BUG)
    return 0


def _prepare_environment() -> None:
    """Settles what TensorFlow and Keras read from the environment when they are imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    backend = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    if backend != "tensorflow":
        raise flags.UsageError(
            f"Expected KERAS_BACKEND=tensorflow, which the jobs are written for. "
            f"Received: {backend!r}. Unset the variable."
        )


def _bug(error: Exception, workdir: str | None) -> str:
    """Keeps the traceback of a bug in a file, and says where."""
    trace = "".join(traceback.format_exception(error))
    summary = f"{type(error).__name__}: {error}".partition("\n")[0][:200]
    folder = workdir if workdir and Path(workdir).is_dir() else tempfile.gettempdir()
    name = f"{run_config.TRACEBACK}{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    for place in (Path(folder) / name, Path(tempfile.gettempdir()) / name):
        try:
            place.write_text(trace, encoding="utf-8", errors="backslashreplace")
        except OSError:  # a full or a read-only disk
            continue
        return f"This is a bug ({summary}). The traceback is in {place}: please report it."
    return f"This is a bug ({summary}). --debug shows where: please report it."


def _report(message: str, status: int) -> int:
    with contextlib.suppress(OSError):  # a terminal that was closed
        print(f"main.py: {message}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
