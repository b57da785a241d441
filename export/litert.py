"""LiteRT, formerly TensorFlow Lite: `model.tflite`, for phones and small devices.

    runner = ai_edge_litert.interpreter.Interpreter("model.tflite").get_signature_runner()
    outputs = runner(images=images)

`images` is uint8 (B, H, W, 3), RGB, 0..255, of the size and number that it was written for (by
default one image of the run's size); normalisation is inside. The outputs are `embedding` (B, C),
`feature_map` (B, h, w, C) and the pyramid's levels, float32 at every precision.

| `--precision` | weights | computed in |
|---|---|---|
| `float32` | float32 | float32 |
| `float16` | float16 | float16 where the processor can (GPUs), else float32 |
| `int8` | int8, a scale for each channel | int8, scales of the maps from 100 images of the run |

Only LiteRT's own operations are used, never TensorFlow's (Flex), so any LiteRT runtime loads it.
Written by Keras's exporter, which is TensorFlow's converter.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from export import _network
from export._order import Order
from export._verify import Bound, Entrance
from pcd_tf.errors import UserError

PACKAGES = ("ai-edge-litert>=1.0.1,<3",)
FIXED = True
SETTINGS = ("precision",)

# float16 keeps 11 bits of a weight: 5e-4 for each, added up over the layers. int8 keeps 8 bits of
# weights and maps: single values stray, directions hardly; a ResNet-18's mean errors
# were 0.02 to 0.04, another photograph's embedding is off by 0.14 or more.
_BOUNDS = {
    "float32": Bound(),
    "float16": Bound(tolerance=5e-3, mean_error=1e-2),
    "int8": Bound(tolerance=0.25, cosine=0.98, mean_error=0.1),
}
# Guide "Post-training quantization" of LiteRT: "around 100-500 samples".
_NUM_CALIBRATION = 100

_FILE = "model.tflite"


def bound(order: Order) -> Bound:
    """Returns what is allowed at the precision that is asked for."""
    return _BOUNDS[order.precision]


def write(order: Order, directory: Path) -> None:
    """Writes the model.

    Raises:
        UserError: when the student has an operation that LiteRT, or LiteRT in int8, does not have,
            or there are no images to calibrate int8 with.
    """
    settings: dict[str, Any] = {"target_spec": {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}}
    dtype = "uint8"
    if order.precision != "float32":
        settings["optimizations"] = [tf.lite.Optimize.DEFAULT]
    if order.precision == "float16":
        settings["target_spec"]["supported_types"] = [tf.float16]
    if order.precision == "int8":
        calibration = _calibration(order)
        dtype = "float32"  # what the converter quantises; from outside it is uint8 again
        settings |= {
            "target_spec": {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]},
            "representative_dataset": lambda: _batches(calibration, order.batch_size or 1),
            "inference_input_type": tf.uint8,
        }
    path = directory / _FILE
    try:
        _network.write(order, path, "litert", dtype=dtype, **settings)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # the converter's own class is private
        raise UserError(
            f"Expected a student whose operations LiteRT has in {order.precision}. Received: one "
            f"that its converter refuses: {_first_lines(error)}"
        ) from error


def entrances(order: Order, directory: Path) -> dict[str, Entrance]:
    """Loads the model in the LiteRT interpreter, on the CPU.

    Raises:
        UserError: when the uint8 images would not be taken as they are.
    """
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(directory / _FILE))
    scale, zero_point = interpreter.get_input_details()[0]["quantization"]
    if order.precision == "int8" and (scale, zero_point) != (1.0, 0):
        raise UserError(
            "Expected an int8 model that takes images in 0..255 as they are. Received: one that "
            f"takes {scale} * (images - {zero_point})."
        )
    runner = interpreter.get_signature_runner()

    def run(images: npt.NDArray[np.uint8]) -> dict[str, Any]:
        return {name: np.array(value) for name, value in runner(images=images).items()}

    return {"the LiteRT interpreter": run}


def _calibration(order: Order) -> npt.NDArray[np.uint8]:
    """Representative images whose lowest value is 0 and highest 255.

    The scale of the input comes from these two: with others, an image in 0..255 would be misread.
    """
    images = order.images.representative(_NUM_CALIBRATION, *order.size_or_run)
    print(f"Calibrates int8 with {len(images)} images of {order.images.where}.")
    images[0, 0, 0], images[0, -1, -1] = 0, 255
    return images


def _batches(images: npt.NDArray[np.uint8], size: int) -> Iterator[list[npt.NDArray[np.float32]]]:
    whole = np.resize(images, (-(-len(images) // size) * size, *images.shape[1:]))
    for start in range(0, len(whole), size):
        yield [whole[start : start + size].astype("float32")]


def _first_lines(error: Exception, count: int = 3) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:count])
