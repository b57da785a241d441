"""Whether what was written is the Keras student: the check before an export is called done."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from pcd_tf.students import Student

TOLERANCE = 1e-4  # relative to the largest value of an output

Answers = Mapping[str, Mapping[str, Any]]


def largest_error(student: Student, answers: Callable[[npt.NDArray[np.uint8]], Answers]) -> float:
    """Compares an export with the Keras student on fixed images of two sizes.

    The sizes are the square that the student was distilled on, and a smaller oblong one.

    Args:
        student: what was exported.
        answers: uint8 images (B, H, W, 3) -> for each entrance of the export, its outputs by name.

    Returns:
        The largest error of any output at any entrance, relative to the output's largest value.

    Raises:
        ValueError: when an output is missing or left over, of another shape, or off by more than
            TOLERANCE; says which.
    """
    side = student.image_size
    largest = 0.0
    for size in ((side, side), (side // 2 + 5, side // 2 + 24)):
        images = _fixed_images(*size)
        with _full_float32():
            expected = {name: np.asarray(value) for name, value in student.outputs(images).items()}
            received = answers(images)
        for entrance, outputs in received.items():
            if outputs.keys() != expected.keys():
                raise ValueError(
                    f"Expected the outputs {', '.join(sorted(expected))} of {entrance}. "
                    f"Received: {', '.join(sorted(outputs))}. Nothing was exported."
                )
            for name, value in expected.items():
                error = _relative_error(np.asarray(outputs[name]), value)
                if not error <= TOLERANCE:
                    raise ValueError(
                        f"Expected the export to equal the Keras student to {TOLERANCE:.0e}. "
                        f"Received: {name} of {entrance}, at {size[0]} x {size[1]} pixels, off by "
                        f"{error:.1e} of its largest value. Nothing was exported."
                    )
                largest = max(largest, error)
    return largest


@contextlib.contextmanager
def _full_float32() -> Iterator[None]:
    """Keeps GPUs from TensorFloat-32, whose 10-bit products differ by more than the tolerance."""
    enabled = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(enabled)


def _fixed_images(height: int, width: int) -> npt.NDArray[np.uint8]:
    """Two uint8 images, the same ones each time: a smooth one, and one of noise."""
    y = np.linspace(0.0, 1.0, height)[:, None, None]
    x = np.linspace(0.0, 1.0, width)[None, :, None]
    turns = np.array([2.0, 3.0, 5.0])
    smooth = 127.5 + 127.5 * np.sin(2 * np.pi * turns * (x + y**2))
    noise = np.random.default_rng(0).uniform(0, 255, (height, width, 3))
    return np.stack([smooth, noise]).astype(np.uint8)


def _relative_error(received: npt.NDArray[Any], expected: npt.NDArray[Any]) -> float:
    if received.shape != expected.shape:
        return float("inf")
    largest = max(float(np.max(np.abs(expected))), 1e-12)
    return float(np.max(np.abs(received - expected))) / largest
