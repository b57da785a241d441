"""What a frozen network is worth, one probe a file: nothing of it is trained, BatchNorm included.

A file has `IMAGES`, what it reads from `pcd_tf.data` ("labelled": one class an image; "maps": a
class a pixel; "any": no labels); `MAIN`, the score that decides; `score`, on arrays where that is
enough; and

    evaluate(network, train, held_out, *, image_size, batch_size) -> dict[str, float]

`network` maps uint8 (B, S, S, 3) to float32 (B, h, w, C): see `network`. Importing this package
loads no TensorFlow.

Example:
    network = probes.network(student.backbone, student.mean, student.std)
    train, val = (data.build("folder", data_dir=f"flowers/{split}") for split in ("train", "val"))
    scores = probes.load("knn").evaluate(network, train, val, image_size=224, batch_size=64)
    scores["knn_top1"]
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pcd_tf import plugins

if TYPE_CHECKING:
    from pcd_tf.probes._features import Features as Features

_PUBLIC = {
    "Features": "_features",
    "check_classes": "_features",
    "network": "_features",
    "pooled": "_features",
}

__all__ = ["load", "names", *_PUBLIC]


def names() -> tuple[str, ...]:
    """Lists the probes: the choices of `--probe`."""
    return plugins.names(__name__)


def load(name: str) -> ModuleType:
    """Imports a probe.

    Raises:
        ValueError: when there is no such probe, naming the choices and the nearest.
    """
    return plugins.load(__name__, name)


def __getattr__(name: str) -> Any:
    """Loads a public name on its first use (PEP 562)."""
    if name in _PUBLIC:
        return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
