"""torchvision: `model.safetensors`, the student's arrays under the names of a PyTorch ResNet.

For the protocols that are written in PyTorch. `--naming=torchvision` (the default) is for
torchvision's and timm's ResNets, `--naming=detectron2` for Detectron2's. `README.txt` in the same
directory says how to load them; PyTorch is needed there only.

The check loads the file into a PyTorch ResNet, strictly, and compares outputs; where PyTorch is not
installed, into a new Keras backbone.
"""

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

import keras_hub
import numpy as np
import numpy.typing as npt

from export import _torch_names, _torch_readme
from export._order import Order
from export._verify import Entrance
from pcd_tf.errors import UserError
from pcd_tf.students import Student
from pcd_tf.weights import arrays, torch_resnet, torchvision

SETTINGS = ("naming",)

_FILE = "model.safetensors"


def write(order: Order, directory: Path) -> None:
    """Writes the arrays, and how to load them.

    Raises:
        UserError: when the student is no ResNet.
    """
    backbone = order.student.backbone
    if not _is_torchvision_resnet(backbone):
        raise UserError(
            "Expected a ResNet student: resnet18, resnet34 or resnet50. Received: "
            f"{backbone.name}, a {type(backbone).__name__}, for which torchvision's ResNet has no "
            "names. Choose --format=onnx to use it beside PyTorch."
        )
    state = torchvision.from_keras(backbone)
    if order.naming == "detectron2":
        state = _torch_names.to_detectron2(state)
    arrays.write(directory / _FILE, state)
    (directory / "README.txt").write_text(_torch_readme.readme(order))


def entrances(order: Order, directory: Path) -> dict[str, Entrance]:
    """Loads the file into a PyTorch ResNet, or without PyTorch into a new Keras backbone."""
    state = arrays.read(directory / _FILE)
    if order.naming == "detectron2":
        state = _torch_names.from_detectron2(state)
    if importlib.util.find_spec("torch"):
        return {"PyTorch": _torch_entrance(order.student, state)}
    return {"Keras, as PyTorch is not installed": _keras_entrance(order.student, state)}


def _torch_entrance(student: Student, state: dict[str, arrays.Array]) -> Entrance:
    network = torch_resnet.network(state)
    mean, std = np.array(student.mean, "float32"), np.array(student.std, "float32")

    def run(images: npt.NDArray[np.uint8]) -> dict[str, Any]:
        maps = network((images.astype("float32") - mean) / std)
        levels = {f"P{number + 1}": maps[f"layer{number}"] for number in (1, 2, 3, 4)}
        last = maps["layer4"]
        return {"embedding": last.mean(axis=(1, 2)), "feature_map": last, **levels}

    return run


def _keras_entrance(student: Student, state: dict[str, arrays.Array]) -> Entrance:
    backbone = type(student.backbone).from_config(student.backbone.get_config())
    converted = torchvision.to_keras(state, backbone)
    arrays.assign(arrays.variables(backbone), converted, origin=_FILE)
    return dataclasses.replace(student, backbone=backbone).outputs


def _is_torchvision_resnet(backbone: Any) -> bool:
    return (
        isinstance(backbone, keras_hub.models.ResNetBackbone)
        and len(backbone.input_conv_filters) == 1
        and not backbone.use_pre_activation
        and backbone.block_type in ("basic_block", "bottleneck_block")
    )
