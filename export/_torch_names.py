"""The names that PyTorch libraries give a ResNet's arrays."""

import re
from collections.abc import Mapping

from pcd_tf.weights.arrays import Array


def to_detectron2(state: Mapping[str, Array]) -> dict[str, Array]:
    """Renames torchvision's arrays to those of Detectron2's ResNet: `stem.conv1.norm.weight` ...

    A stack is named by its pyramid level there. BatchNorm's counters are left out: Detectron2's
    frozen BatchNorm has none, and the other kinds start theirs at 0.
    """
    renamed = {}
    for name, array in state.items():
        if name.endswith(".num_batches_tracked"):
            continue
        name = re.sub(r"^layer(\d)", lambda found: f"res{int(found[1]) + 1}", name)
        name = re.sub(r"\bbn(\d)", r"conv\1.norm", name)
        name = name.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")
        renamed[name if name.startswith("res") else f"stem.{name}"] = array
    return renamed


def from_detectron2(state: Mapping[str, Array]) -> dict[str, Array]:
    """Renames them back."""
    renamed = {}
    for name, array in state.items():
        name = re.sub(r"^res(\d)", lambda found: f"layer{int(found[1]) - 1}", name)
        name = re.sub(r"\bconv(\d)\.norm", r"bn\1", name)
        name = name.replace("shortcut.norm", "downsample.1").replace("shortcut", "downsample.0")
        renamed[name.removeprefix("stem.")] = array
    return renamed
