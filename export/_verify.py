"""Whether what was written is the Keras student: the check before an export is called done."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from export._order import Order
from pcd_tf.errors import UserError

Outputs = Mapping[str, Any]
Entrance = Callable[[npt.NDArray[np.uint8]], Outputs | None]


@dataclasses.dataclass(frozen=True)
class Bound:
    """How far an export may be from the Keras student.

    Args:
        tolerance: largest error of a value, relative to the largest value of its output.
        cosine: smallest cosine between an image's embedding and that of the Keras student.
        mean_error: largest mean error of an output, relative to the mean of its absolute values.
    """

    tolerance: float = 1e-4
    cosine: float = 0.9999
    mean_error: float = 1e-3


@dataclasses.dataclass(frozen=True)
class Report:
    """What the check found: the largest errors and the smallest cosine, of what, on what.

    `sizes` are, for each entrance, those (height, width) at which it was compared.
    """

    error: float
    cosine: float
    mean_error: float
    bound: Bound
    sizes: Mapping[str, Sequence[tuple[int, int]]]
    images: str

    def description(self) -> dict[str, Any]:
        """Describes it in JSON's types."""
        return {
            "largest_relative_error": self.error,
            "smallest_cosine": self.cosine,
            "largest_relative_mean_error": self.mean_error,
            "allowed": dataclasses.asdict(self.bound),
            "checked": {"sizes": self.sizes, "images": self.images},
        }

    def __str__(self) -> str:
        checked = "; ".join(f"by {name} at {_pixels(sizes)}" for name, sizes in self.sizes.items())
        return (
            f"  error     {self.error:.1e} at most against the Keras student, relative to an "
            f"output's largest value; allowed {self.bound.tolerance:g}\n"
            f"  cosine    {self.cosine:.6f} at least between its embeddings and the Keras "
            f"student's; allowed {self.bound.cosine:g}\n"
            f"  mean      {self.mean_error:.1e} at most, the mean error relative to the mean of an "
            f"output's absolute values; allowed {self.bound.mean_error:g}\n"
            f"  checked   {checked} pixels; with {self.images}"
        )


def check(order: Order, entrances: Mapping[str, Entrance], bound: Bound) -> Report:
    """Compares an export with the Keras student on real images.

    Where the export takes images of any size, they are the square that the student was distilled
    on, and a smaller oblong one.

    Args:
        order: what was exported.
        entrances: name -> function, uint8 images (B, H, W, 3) -> outputs by name.
        bound: what is allowed.

    Raises:
        UserError: when the student does not give finite numbers; when an output is missing or left
            over, of another shape, or off by more than the bound, or an entrance takes none of the
            sizes; says which.
    """
    compared: dict[str, list[tuple[int, int]]] = {name: [] for name in entrances}
    largest, smallest, largest_mean = 0.0, 1.0, 0.0
    for size in _sizes(order):
        images = order.images.batch(*size)
        with _full_float32():
            expected = {key: np.asarray(x) for key, x in order.student.outputs(images).items()}
            _check_finite(expected, size)
            received = {name: _ask(ask, images, order) for name, ask in entrances.items()}
        for entrance, outputs in received.items():
            if outputs is None:
                continue
            place = f"{entrance}, at {size[0]} x {size[1]} pixels,"
            error, mean_error = _compare(outputs, expected, bound, place)
            largest, largest_mean = max(largest, error), max(largest_mean, mean_error)
            smallest = min(smallest, _cosine(outputs, expected))
            if not smallest >= bound.cosine:
                raise UserError(
                    f"Expected embeddings with a cosine of {bound.cosine:g} or more with the Keras "
                    f"student's. Received: {smallest:.4f} of {place} with {order.images}. "
                    "Nothing was exported."
                )
            compared[entrance].append(size)
    unasked = [name for name, sizes in compared.items() if not sizes]
    if unasked or not compared:
        raise UserError(
            "Expected every entrance of the export to take images of a size to check it with. "
            f"Received: {', '.join(unasked) or 'none'}. Nothing was exported."
        )
    return Report(largest, smallest, largest_mean, bound, compared, str(order.images))


def _check_finite(expected: Outputs, size: tuple[int, int]) -> None:
    broken = [name for name, value in expected.items() if not np.all(np.isfinite(value))]
    if broken:
        raise UserError(
            "Expected a Keras student that gives finite numbers. Received: infinite ones, or none, "
            f"in its {', '.join(broken)} at {_pixels([size])} pixels: its weights are damaged, or "
            "its training diverged. Nothing was exported."
        )


def _compare(outputs: Outputs, expected: Outputs, bound: Bound, place: str) -> tuple[float, float]:
    """Returns the largest error and the largest mean error of any output; see `Bound`."""
    if outputs.keys() != expected.keys():
        raise UserError(
            f"Expected the outputs {', '.join(sorted(expected))} of {place} "
            f"Received: {', '.join(sorted(outputs))}. Nothing was exported."
        )
    largest = largest_mean = 0.0
    for name, value in expected.items():
        error, mean_error = _relative_errors(outputs[name], value)
        if not error <= bound.tolerance:
            raise UserError(
                f"Expected the export to equal the Keras student to {bound.tolerance:g}. "
                f"Received: {name} of {place} off by {error:.1e} of its largest value. "
                "Nothing was exported."
            )
        if not mean_error <= bound.mean_error:
            raise UserError(
                f"Expected a mean error of {bound.mean_error:g} or less against the Keras student. "
                f"Received: {name} of {place} off by {mean_error:.1e} of its mean. "
                "Nothing was exported."
            )
        largest, largest_mean = max(largest, error), max(largest_mean, mean_error)
    return largest, largest_mean


def _relative_errors(received: npt.NDArray[Any], expected: npt.NDArray[Any]) -> tuple[float, float]:
    if received.shape != expected.shape:
        return float("inf"), float("inf")
    errors, values = np.abs(received - expected), np.abs(expected)
    largest, mean = (float(of(errors)) / max(float(of(values)), 1e-12) for of in (np.max, np.mean))
    return largest, mean


def _cosine(outputs: Outputs, expected: Outputs) -> float:
    one, other = outputs["embedding"], expected["embedding"]
    norms = np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1)
    return float(np.min(np.sum(one * other, axis=-1) / np.maximum(norms, 1e-12)))


def _ask(
    entrance: Entrance, images: npt.NDArray[np.uint8], order: Order
) -> dict[str, npt.NDArray[Any]] | None:
    """Sends the images in, as many at a time as the export takes."""
    at_a_time = order.batch_size or len(images)
    parts = []
    for start in range(0, len(images), at_a_time):
        part = images[start : start + at_a_time]
        num_lacking = at_a_time - len(part)
        outputs = entrance(np.concatenate([part, images[:1].repeat(num_lacking, axis=0)]))
        if outputs is None:
            return None
        parts.append({name: np.asarray(value)[: len(part)] for name, value in outputs.items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _sizes(order: Order) -> Iterator[tuple[int, int]]:
    """The size that the export is for; else the run's and an oblong one that the student takes."""
    yield order.size_or_run
    if order.size is None:
        half = order.student.image_size // 2
        rounded = max(half // 32, 1) * 32  # what has a stride of 32, or patches, takes this
        for oblong in ((half + 5, half + 24), (rounded, rounded + 32)):
            if _takes(order, oblong):
                yield oblong
                return


def _pixels(sizes: Sequence[tuple[int, int]]) -> str:
    return " and ".join(f"{height} x {width}" for height, width in sizes)


def _takes(order: Order, size: tuple[int, int]) -> bool:
    try:
        order.student.outputs(np.zeros((1, *size, 3), "uint8"))
    except (ValueError, tf.errors.InvalidArgumentError):
        return False
    return True


@contextlib.contextmanager
def _full_float32() -> Iterator[None]:
    """Keeps GPUs from TensorFloat-32, whose 10-bit products differ by more than the tolerance."""
    enabled = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(enabled)
