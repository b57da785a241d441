"""Pixel-Wise Contrastive Distillation for Keras 3 on TensorFlow.

A big teacher, pre-trained without labels, teaches a small student, without labels, pixel by pixel.
Source: Huang and Guo, "Pixel-Wise Contrastive Distillation", ICCV 2023, arXiv 2211.00218.

Importing this package is instant: a public name, and with it Keras and TensorFlow, is loaded when
it is first used.

Example:
    import pcd_tf

    adaptor = pcd_tf.SpatialAdaptor(head)  # loads Keras now
    teacher = pcd_tf.teachers.load("runs/teacher/teacher")
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "Distiller": "pcd_tf.models",
    "MHSA": "pcd_tf.layers",
    "MoCoV3": "pcd_tf.models",
    "NegativeQueue": "pcd_tf.negatives",
    "PixelContrastiveLoss": "pcd_tf.losses",
    "ProjectionHead": "pcd_tf.layers",
    "SpatialAdaptor": "pcd_tf.layers",
}
_PACKAGES = (
    "annotated",
    "configs",
    "data",
    "detectors",
    "inits",
    "layers",
    "models",
    "objectives",
    "probes",
    "segmented",
    "segmenters",
    "students",
    "teachers",
)

__all__ = ["__version__", *_PUBLIC, *_PACKAGES]


def __getattr__(name: str) -> Any:
    """Loads a public name on its first use (PEP 562)."""
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    if name in _PACKAGES:
        return importlib.import_module(f"pcd_tf.{name}")
    raise AttributeError(f"module 'pcd_tf' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
