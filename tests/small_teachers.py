"""The ResNet teachers with short backbones and narrow heads, but every kind of layer they have."""

import importlib

import keras_hub

from pcd_tf.teachers import _head

SCALE = 64  # divides the width of every layer of a head, as in torch_models.SMALL
_CHANNELS = {512: 128, 2048: 256}  # of the full backbone, and of the short one
_NARROWEST = 1024  # widest layer of the narrowest head
_TEACHERS = ("swav_resnet50", "barlow_twins_resnet50", "byol_resnet50", "dino_resnet50")


def patch(monkeypatch):
    """Has every ResNet teacher built small: `teachers.convert` then reads a small checkpoint."""
    patch_backbones(monkeypatch, resnet)
    full = _head.mlp

    def mlp(channels, units, **options):
        is_full = max(units) >= _NARROWEST  # widths that come from a small file are small already
        narrow = [width // SCALE for width in units] if is_full else units
        return full(_CHANNELS.get(channels, channels), narrow, **options)

    monkeypatch.setattr(_head, "mlp", mlp)


def patch_backbones(monkeypatch, backbone):
    """Has every ResNet teacher take `backbone(depth)` for its ResNet."""
    for name in ("_moco_v3_resnet", *_TEACHERS):
        monkeypatch.setattr(importlib.import_module(f"pcd_tf.teachers.{name}"), "resnet", backbone)


def resnet(depth):
    """Two stages; KerasHub wants the first with 64 channels inside."""
    block, widths = {18: ("basic_block", [64, 128]), 50: ("bottleneck_block", [64, 64])}[depth]
    return keras_hub.models.ResNetBackbone(
        [64], [7], widths, [2, 1], [1, 2], block, image_shape=(None, None, 3), name="resnet"
    )
