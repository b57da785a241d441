"""ONNX: `model.onnx`, for ONNX Runtime, OpenVINO, TensorRT and what else reads it.

    session = onnxruntime.InferenceSession("model.onnx")
    names = [output.name for output in session.get_outputs()]
    outputs = dict(zip(names, session.run(None, {"images": images})))

`images` is uint8 (B, H, W, 3), RGB, 0..255; normalisation is inside. The outputs are `embedding`
(B, C), `feature_map` (B, h, w, C) and the pyramid's levels, float32, channels last. B, H and W are
free unless `--batch_size` and `--image_size` settle them. Written by Keras's exporter, which is
tf2onnx.
"""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export import _network, _onnx_operations
from export._order import Order
from export._verify import Entrance
from pcd_tf.errors import UserError

PACKAGES = ("tf2onnx>=1.17,<2", "onnx>=1.19,<2", "onnxruntime>=1.23,<2")

_FILE = "model.onnx"
_AXES = ("batch", "height", "width")  # what a free axis of the images is called in the file


def write(order: Order, directory: Path) -> None:
    """Writes the model, checked against the rules of ONNX.

    Raises:
        UserError: when the student has an operation that ONNX does not have.
    """
    import onnx

    path = directory / _FILE
    _onnx_operations.register()
    try:
        with warnings.catch_warnings():
            # Keras asks for `np.object`, to mend tf2onnx where NumPy is 2 or newer.
            warnings.filterwarnings("ignore", "In the future `np.object`", FutureWarning)
            _network.write(order, path, "onnx", dtype="uint8")
        model = onnx.load(path)
        for axis, dim in zip(_AXES, model.graph.input[0].type.tensor_type.shape.dim, strict=False):
            if not dim.dim_value:
                dim.dim_param = axis
        onnx.checker.check_model(model, full_check=True)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # tf2onnx's own errors are of many classes
        path.unlink(missing_ok=True)
        raise UserError(
            "Expected a student whose operations ONNX has. Received: one that tf2onnx does not "
            f"convert: {' '.join(str(error).split())[:300]}"
        ) from error
    onnx.save(model, path)


def entrances(order: Order, directory: Path) -> dict[str, Entrance]:
    """Loads the model in ONNX Runtime, on the CPU."""
    import onnxruntime

    del order
    session = onnxruntime.InferenceSession(directory / _FILE, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(images: npt.NDArray[np.uint8]) -> dict[str, Any]:
        return dict(zip(names, session.run(None, {"images": images}), strict=True))

    return {"ONNX Runtime": run}
