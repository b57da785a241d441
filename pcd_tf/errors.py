"""What a user can put right, told from a bug; every error of the first kind is a UserError."""

import contextlib
import errno
import re
from collections.abc import Iterator

# What steers a terminal, turns its text around, or stands for a byte that is no UTF-8.
_CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_OUR_PACKAGES = ("pcd_tf", "export", "flags")
_NO_SPACE = re.compile(r"No space left on device|Disk quota exceeded|File too large")
# How TensorFlow ends its text when the system refuses a file.
_OF_A_FILE = re.compile(
    r"(\S+); (Input/output error|Is a directory|No such file or directory|Not a directory|"
    r"Operation not permitted|Permission denied|Read-only file system|Stale file handle)"
)
_NO_MEMORY = re.compile(r"RESOURCE_EXHAUSTED|[Oo]ut of memory|OOM when allocating")
# What an assertion in a graph of ours says, and behind it where in the graph that is.
_ASSERTED = re.compile(r"assertion failed: \[(Expected .*?)\]\s", re.S)
# What a function of ours that TensorFlow called has raised stands at the head of its traceback;
# what was raised while TensorFlow traced one, at the end of its text.
_OURS = re.compile(
    r"(?:UserError|DecodeError): (.*?)(?:\nTraceback \(most recent call last\)|\s*\Z)", re.S
)


class UserError(ValueError):
    """Something that the user can put right: a setting, a file, an image, the space on a disk.

    The message says what was expected, what was received and the remedy. It is a ValueError, as
    Keras raises; whatever else leaves this library is a bug.

    Example:
        raise UserError(f"Expected an existing directory. Received: {path}. Name another one.")
    """


def printable(text: str) -> str:
    r"""Returns a text for a terminal: control characters as Python writes them, lines kept.

    File names and class names come from outside, and may hold codes that steer the terminal.

    Example:
        printable("\x1b[2J.jpg")  # r"\x1b[2J.jpg"
    """
    return _CONTROLS.sub(lambda found: repr(found[0])[1:-1], text)


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Raises a UserError in place of what TensorFlow or the system says of a user's files.

    Stands where batches are fetched, steps are run and files are written; bugs pass through.

    Example:
        with errors.translated():
            batch = next(iterator)
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        message = explanation(error)
        if message is None:
            raise
        raise UserError(message) from error


def explanation(error: BaseException) -> str | None:
    """Says in the user's words what went wrong; None when the user cannot put it right."""
    text = str(error)
    if isinstance(error, UserError):
        return text
    is_tensorflow = type(error).__module__.startswith("tensorflow.")
    if is_tensorflow and (found := _OURS.search(text) or _ASSERTED.search(text)):
        return found[1]
    if isinstance(error, ModuleNotFoundError):
        return _missing_package(error)
    if isinstance(error, OSError):
        if error.errno in _DISK_FULL:
            return _disk_full(str(error))
        return text if error.filename else None
    if _NO_SPACE.search(text):  # of TensorFlow, or of a library in another language
        return _disk_full(_cause(text))
    if is_tensorflow and (found := _OF_A_FILE.search(_cause(text))):
        return f"Cannot use {found[1]}: {found[2]}. Is its disk away, or was it moved?"
    if type(error).__name__ == "DataLossError":
        return f"A file of records or of weights is damaged: {_cause(text)}. Copy it again."
    if isinstance(error, MemoryError) or (is_tensorflow and _is_memory(error)):
        return (
            "The device has too little memory. Use a smaller batch size or image size; a training "
            f"run takes less with --precision=mixed_bfloat16. ({_cause(text) or 'MemoryError'})"
        )
    return None


def _missing_package(error: ModuleNotFoundError) -> str | None:
    package = str(error.name).partition(".")[0]
    if package in _OUR_PACKAGES:
        return None
    return f"The package {package} is not installed: pip install -r requirements.txt."


def _disk_full(cause: str) -> str:
    return (
        f"The disk is full, or a limit on files is reached: {cause}. Free some space; the same "
        "command then goes on."
    )


def _is_memory(error: BaseException) -> bool:
    # Under XLA memory runs out as an InternalError or an UnknownError.
    return type(error).__name__ == "ResourceExhaustedError" or bool(_NO_MEMORY.search(str(error)))


def _cause(text: str) -> str:
    """The line of TensorFlow's text that says what went wrong, without the function's name."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [""]
    line = lines[-1] if lines[0] == "in user code:" else lines[0]
    return re.sub(r"^\{\{.*?\}\}\s*|\s*\[Op:\w+\] name:.*", "", line)
