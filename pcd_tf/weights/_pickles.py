"""What a pickle would build, followed without building it."""

import pickletools
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from pcd_tf.errors import UserError

# A checkpoint's tuples hold a tensor's storage, shape and strides. To hash a larger one, as a key
# of a dict, can take for ever: of one that holds itself twice, 40 times over, 2^40 steps.
_MOST_PARTS = 10**6
_DEEPEST = 50  # tuples in one another; Python hashes them by recursion, which ends the process
_ALLOCATES = ("builtins bytearray", "__builtin__ bytearray")  # of as many bytes as a number says

_Built = tuple[int, int]  # parts, and how deep its tuples lie in one another
_MARK: _Built = (-1, 0)
_GET = ("GET", "BINGET", "LONG_BINGET")
_PUT = ("PUT", "BINPUT", "LONG_BINPUT")


def check(stream: IO[bytes], file: Path) -> None:
    """Refuses a pickle whose tuples could not be hashed, or that asks for bare memory.

    One that is damaged passes: whoever loads it says so.

    Args:
        stream: at the pickle's start; it is read to its end.
        file: what to call it in the error.

    Raises:
        UserError: when it would not end, or end the process.
    """
    try:
        is_harmful = any(
            num_parts > _MOST_PARTS or depth > _DEEPEST or name in _ALLOCATES
            for name, (num_parts, depth) in _built(stream)
        )
    except (IndexError, KeyError, ValueError):
        return
    if is_harmful:
        raise UserError(
            f"Expected a checkpoint of arrays. Received: {file}, which is made to do harm: to load "
            "it would take for ever, or all memory. Fetch it anew from a source that you trust."
        )


def _built(stream: IO[bytes]) -> Iterator[tuple[str, _Built]]:
    """Yields what each operation puts on the stack, beside its name or the class that it names."""
    stack: list[_Built] = []
    memo: dict[int, _Built] = {}
    for operation, argument, _ in pickletools.genops(stream):
        name = operation.name
        if name in _PUT:
            memo[int(str(argument))] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in _GET:
            stack.append(memo[int(str(argument))])
        elif name in ("DUP", "MARK"):
            stack.append(stack[-1] if name == "DUP" else _MARK)
        else:
            taken = _taken(stack, operation.stack_before)
            is_tuple = name.endswith(("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"))
            built = (1, 0)
            if is_tuple:
                deepest = max((depth for _, depth in taken), default=0)
                built = (1 + sum(parts for parts, _ in taken), 1 + deepest)
            stack.extend([built] * len(operation.stack_after))
            yield (str(argument) if name == "GLOBAL" else name), built


def _taken(stack: list[_Built], before: list[pickletools.StackObject]) -> list[_Built]:
    """Takes from the stack what an operation takes, down to the last mark if it asks for one."""
    count = len(before)
    if pickletools.markobject in before:
        place = len(stack) - 1 - stack[::-1].index(_MARK)
        count = len(stack) - place + before.index(pickletools.markobject)
    taken = stack[len(stack) - count :] if count else []
    del stack[len(stack) - count :]
    return [built for built in taken if built != _MARK]
