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
import logging
import os
import sys
from typing import Any

__version__ = "0.1.0"

# On CPUs without AVX-512 TensorFlow leaves oneDNN off, and its own gradient of a convolution over
# few pixels is slow: with it a quarter of the time at 64 px, see benchmarks/onednn.py. TensorFlow
# reads the variable once, when it is imported.
if "tensorflow" in sys.modules and "TF_ENABLE_ONEDNN_OPTS" not in os.environ:
    logging.getLogger(__name__).warning(
        "TensorFlow was imported before pcd_tf, so oneDNN stays as TensorFlow has it: on a CPU "
        "without AVX-512 training takes 2 to 4 times as long. Import pcd_tf first, or set "
        "TF_ENABLE_ONEDNN_OPTS=1."
    )
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

_PUBLIC = {
    "Distiller": "pcd_tf.models",
    "LARS": "pcd_tf.optimizers",
    "MHSA": "pcd_tf.layers",
    "MoCoV3": "pcd_tf.models",
    "NegativeQueue": "pcd_tf.negatives",
    "PixelContrastiveLoss": "pcd_tf.losses",
    "ProjectionHead": "pcd_tf.layers",
    "SpatialAdaptor": "pcd_tf.layers",
}
_PACKAGES = (
    "configs",
    "data",
    "detectors",
    "inits",
    "layers",
    "models",
    "objectives",
    "probes",
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
