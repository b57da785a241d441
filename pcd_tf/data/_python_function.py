"""Python functions in a stream, and that a script which reads one comes to its end."""

import atexit
import contextlib
import functools
import gc
import types
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
from tensorflow.python.data.ops.multi_device_iterator_ops import (
    OwnedMultiDeviceIterator,  # what a strategy reads with; it has no public name
)

from pcd_tf import files


def python_function(
    function: Callable[..., Any], inputs: Sequence[tf.Tensor], output_types: Any
) -> Any:
    """Calls a Python function in a stream; `tf.numpy_function`, but the process can end.

    A stream reads ahead in its own threads for as long as its iterator lives. An iterator that
    lives on at the end of a script, as a variable of it or in the traceback of an error, is
    destroyed when Python no longer runs: it waits for its threads, and these wait for Python. So
    every iterator is closed before that.

    Args:
        function: takes and returns NumPy arrays; called from several threads at once.
        inputs: its arguments.
        output_types: of what it returns: one tf.DType or a list of them.

    Returns:
        its outputs, without static shapes: one tensor or a list of them.
    """
    _close_iterators_at_exit()
    return tf.numpy_function(function, inputs, output_types)


@functools.cache
def _close_iterators_at_exit() -> None:
    atexit.register(_close_iterators)


def _close_iterators() -> None:
    """Drops all that refers to an iterator of TensorFlow, which then waits for its threads."""
    files.ending.set()
    for value in gc.get_objects():
        if type(value) is types.TracebackType:
            with contextlib.suppress(RuntimeError):  # it is running
                value.tb_frame.clear()
        elif issubclass(type(value), tf.data.Iterator | OwnedMultiDeviceIterator):
            vars(value).clear()
