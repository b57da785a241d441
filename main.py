"""Chooses a job, reads its flags and runs it: `python main.py JOB --flag=value ...`."""

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import flags

_ROOT = Path(__file__).resolve().parent
_OURS = (_ROOT / "pcd_tf", _ROOT / "export")
FAILED = 2


def main(arguments: Sequence[str]) -> int:
    """Runs one job.

    Args:
        arguments: the command line without the program's name: a job, then its flags.

    Returns:
        The exit status: 0 when all went well, 2 when the user can put it right.
    """
    name, *rest = arguments or ["help"]
    if name == "help" and rest:
        name, *rest = [*rest, "--help"]
    debug = False
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
        _prepare_environment()
        importlib.import_module(job.runner).run(config)
    except KeyboardInterrupt:
        return _report(
            "Stopped by the keyboard. The same command resumes a training run or an embedding.", 130
        )
    except (ValueError, ArithmeticError, OSError, MemoryError, RuntimeError) as error:
        if debug or not _explains_itself(error):
            raise
        return _report(str(error), FAILED)
    return 0


def _prepare_environment() -> None:
    """Settles what TensorFlow and Keras read from the environment when they are imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # On CPUs without AVX-512 TensorFlow leaves oneDNN off, and its own gradient of a convolution
    # over few pixels is slow: with it a quarter of the time at 64 px, see benchmarks/onednn.py.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    backend = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    if backend != "tensorflow":
        raise flags.UsageError(
            f"Expected KERAS_BACKEND=tensorflow, which the jobs are written for. "
            f"Received: {backend!r}. Unset the variable."
        )


def _explains_itself(error: Exception) -> bool:
    """Tells an error that this project raises, with a remedy, from a bug or one of a library."""
    if isinstance(error, flags.UsageError) or getattr(error, "filename", None):
        return True
    last = traceback.extract_tb(error.__traceback__)[-1]
    is_ours = any(Path(last.filename).is_relative_to(folder) for folder in _OURS)
    return is_ours and (last.line or "").startswith("raise ")


def _report(message: str, status: int) -> int:
    print(f"main.py: {message}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
