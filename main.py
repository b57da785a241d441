"""Chooses a job, reads its flags and runs it: `python main.py JOB --flag=value ...`."""

import contextlib
import importlib
import io
import logging
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

import flags
from pcd_tf import errors, run_config
from pcd_tf.training import interrupts

BUG = 1
FAILED = 2
# How shells number a process that a signal ended: 128 and the signal's number.
SIGNALLED = 128


def main(arguments: Sequence[str]) -> int:
    """Runs one job.

    Args:
        arguments: the command line without the program's name: a job, then its flags.

    Returns:
        The exit status: 0 when all went well, 1 for a bug, 2 when the user can put it right; 130,
        143 or 129 when the keyboard, SIGTERM or a closed terminal stopped it, 141 when nobody reads
        the output any more.
    """
    debug, workdir = "--debug" in arguments, None
    _prepare_output()
    try:
        name, *rest = arguments or ["help"]
        if name == "help" and rest:
            name, *rest = [*rest, "--help"]
        if name in ("help", *flags.HELP_FLAGS):
            print(flags.overview())
        elif set(rest) & set(flags.HELP_FLAGS):
            print(flags.help_of(flags.job(name)))
        else:
            job = flags.job(name)
            config, debug = flags.parse(job, rest)
            config.validate()
            workdir = getattr(config, "workdir", None)
            _prepare_environment()
            with interrupts.raised():
                importlib.import_module(job.runner).run(config)
        print(end="", flush=True)  # a pipe that is closed shows here, not when Python ends
    except KeyboardInterrupt as error:
        number = getattr(error, "number", signal.SIGINT)
        by = "the keyboard" if number == signal.SIGINT else signal.Signals(number).name
        return _report(
            f"Stopped by {by}. The same command resumes a run, an embedding or records.",
            SIGNALLED + number,
        )
    except Exception as error:
        if debug:
            raise
        if isinstance(error, BrokenPipeError):
            return _without_reader()
        message = errors.explanation(error)
        return _report(message, FAILED) if message else _report(_bug(error, workdir), BUG)
    return 0


class _Printable(logging.Formatter):
    """Shows the names of files that a warning speaks of, and obeys none."""

    def format(self, record: logging.LogRecord) -> str:
        # One line each, so that no name of a file can pass for a message of its own.
        return errors.printable(super().format(record)).replace("\n", r"\n")


def _prepare_output() -> None:
    """Lets every name be printed, those that are no UTF-8 and on a terminal that is not too."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Printable())
    logging.getLogger("pcd_tf").handlers = [handler]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # None where it was closed before the start
            stream.reconfigure(errors="backslashreplace")


def _prepare_environment() -> None:
    """Settles what TensorFlow and Keras read from the environment when they are imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    backend = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    if backend != "tensorflow":
        raise flags.UsageError(
            f"Expected KERAS_BACKEND=tensorflow, which the jobs are written for. "
            f"Received: {backend!r}. Unset the variable."
        )


def _without_reader() -> int:
    """Ends as other programs do when `head`, say, has read enough."""
    # Or Python fails once more, with a message, when it writes the rest at its end.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return SIGNALLED + signal.SIGPIPE


def _bug(error: Exception, workdir: str | None) -> str:
    """Keeps the traceback of a bug in a file, and says where."""
    trace = traceback.TracebackException.from_exception(error)
    summary = f"{type(error).__name__}: {trace}".partition("\n")[0][:200]
    name = f"{run_config.ERRORS}{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    for folder in _places(workdir):
        try:
            text = "".join(trace.format())
            (folder / name).write_text(text, encoding="utf-8", errors="backslashreplace")
        except OSError:  # a full or a read-only disk
            continue
        return f"This is a bug ({summary}). The traceback is in {folder / name}: please report it."
    return f"This is a bug ({summary}). --debug shows where: please report it."


def _places(workdir: str | None) -> Iterator[Path]:
    # A directory that is no run yet has to stay empty, or the next run is refused there.
    if workdir and (Path(workdir) / run_config.NAME).is_file():
        yield Path(workdir)
    with contextlib.suppress(OSError):  # where there is no directory for temporary files
        yield Path(tempfile.gettempdir())


def _report(message: str, status: int) -> int:
    with contextlib.suppress(OSError):  # a terminal that was closed
        print(f"main.py: {errors.printable(message)}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
