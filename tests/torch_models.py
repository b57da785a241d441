"""The ResNet teachers as their authors trained them, written in PyTorch for the tests.

Every module and every key of a checkpoint has the published name; the weights are random.
"""

import argparse
import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from tests import goldens

FULL, SMALL = 1, 64  # what the width of every layer of a head is divided by


@dataclasses.dataclass
class Reference:
    """A teacher in PyTorch: what its file holds, and its two networks."""

    checkpoint: dict
    prefix: str  # of the names of `network` in the file
    network: nn.Module
    backbone: Callable  # (B, 3, H, W) -> map (B, C, h, w)
    head: Callable  # (B, C) -> (B, D)

    def outputs(self, images):
        """Map (B, h, w, C), mean pixel (B, C) and embedding (B, D) of images (B, H, W, 3)."""
        with torch.no_grad():
            maps = self.backbone(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
            pooled = maps.mean(dim=(2, 3))
            embedding = self.head(pooled)
        return {
            "map": maps.numpy().transpose(0, 2, 3, 1),
            "pooled": pooled.numpy(),
            "head": embedding.numpy(),
        }


class Bottleneck(nn.Module):
    """1x1, 3x3 with the stride, 1x1 to four times the width; torchvision's names."""

    expansion = 4

    def __init__(self, channels, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.downsample = shortcut(channels, 4 * width, stride)

    def forward(self, x):
        y = self.bn1(self.conv1(x)).relu()
        y = self.bn2(self.conv2(y)).relu()
        return (self.bn3(self.conv3(y)) + self.downsample(x)).relu()


class BasicBlock(nn.Module):
    """Two 3x3, the first with the stride; torchvision's names."""

    expansion = 1

    def __init__(self, channels, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = shortcut(channels, width, stride)

    def forward(self, x):
        y = self.bn1(self.conv1(x)).relu()
        return (self.bn2(self.conv2(y)) + self.downsample(x)).relu()


def shortcut(channels, out, stride):
    if stride == 1 and channels == out:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))


class ResNet(nn.Module):
    """torchvision's ResNet up to its last map; `fc` is there by name, for a head's sake."""

    def __init__(self, block, num_blocks, widths, fc=None):
        super().__init__()
        channels = 64
        self.conv1 = nn.Conv2d(3, channels, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        for i, (count, width) in enumerate(zip(num_blocks, widths, strict=True)):
            blocks = []
            for j in range(count):
                stride = 2 if i > 0 and j == 0 else 1
                blocks.append(block(channels, width, stride))
                channels = block.expansion * width
            self.add_module(f"layer{i + 1}", nn.Sequential(*blocks))
        self.stages = [f"layer{i + 1}" for i in range(len(num_blocks))]
        self.channels = channels
        self.fc = nn.Identity() if fc is None else fc(channels)

    def forward(self, x):
        x = self.bn1(self.conv1(x)).relu()
        x = nn.functional.max_pool2d(x, 3, 2, padding=1)
        for stage in self.stages:
            x = getattr(self, stage)(x)
        return x


def module(**parts) -> Any:
    """A module that is nothing but its parts."""
    made = nn.Module()
    for name, part in parts.items():
        made.add_module(name, part)
    return made


def resnet50(scale, fc=None):
    """ResNet-50, or two short stages of it, 256 channels; KerasHub builds none narrower."""
    if scale == FULL:
        return ResNet(Bottleneck, (3, 4, 6, 3), (64, 128, 256, 512), fc)
    return ResNet(Bottleneck, (2, 1), (64, 64), fc)


def resnet18(scale, fc=None):
    """ResNet-18, or two short stages of it, 128 channels."""
    if scale == FULL:
        return ResNet(BasicBlock, (2, 2, 2, 2), (64, 128, 256, 512), fc)
    return ResNet(BasicBlock, (2, 1), (64, 128), fc)


def moco_v3(encoder, hidden, dim):
    """`main_moco.py` saves: base and momentum encoder, each with its projector as `fc`."""

    def projector(channels):
        return nn.Sequential(
            nn.Linear(channels, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, dim, bias=False),
            nn.BatchNorm1d(dim, affine=False),
        )

    model = nn.Module()
    model.base_encoder = encoder(projector)
    model.momentum_encoder = encoder(projector)
    model.predictor = nn.Sequential(
        nn.Linear(dim, hidden, bias=False),
        nn.BatchNorm1d(hidden),
        nn.ReLU(),
        nn.Linear(hidden, dim),
    )
    scramble(model)
    checkpoint = {
        "epoch": 1000,
        "arch": "resnet",
        "state_dict": data_parallel(model),
        "optimizer": optimizer_state(model),
        "scaler": {"scale": 65536.0, "growth_factor": 2.0},
    }
    encoder = model.momentum_encoder
    return Reference(checkpoint, "state_dict.module.", model, encoder, encoder.fc)


def moco_v3_resnet50(scale=FULL):
    return moco_v3(lambda fc: resnet50(scale, fc), 4096 // scale, 256 // scale)


def moco_v3_resnet18(scale=FULL):
    return moco_v3(lambda fc: resnet18(scale, fc), 1024 // scale, 256 // scale)


def swav_resnet50(scale=FULL):
    model: Any = resnet50(scale)
    hidden, dim = 2048 // scale, 128 // scale
    model.projection_head = nn.Sequential(
        nn.Linear(model.channels, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, dim)
    )
    model.prototypes = nn.Linear(dim, 3000 // scale, bias=False)
    scramble(model)
    return Reference(data_parallel(model), "module.", model, model, model.projection_head)


def barlow_twins_resnet50(scale=FULL):
    backbone = resnet50(scale)
    width = 8192 // scale
    projector = nn.Sequential(
        nn.Linear(backbone.channels, width, bias=False),
        nn.BatchNorm1d(width),
        nn.ReLU(inplace=True),
        nn.Linear(width, width, bias=False),
        nn.BatchNorm1d(width),
        nn.ReLU(inplace=True),
        nn.Linear(width, width, bias=False),
    )
    bn = nn.BatchNorm1d(width, affine=False)
    model = scramble(module(backbone=backbone, projector=projector, bn=bn))
    checkpoint = {"epoch": 1000, "model": data_parallel(model), "optimizer": optimizer_state(model)}
    return Reference(checkpoint, "model.module.", model, model.backbone, model.projector)


def byol_resnet50(scale=FULL):
    hidden, dim = 4096 // scale, 256 // scale

    def mlp(channels):
        return nn.Sequential(
            nn.Linear(channels, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, dim, bias=False),
        )

    online, target = resnet50(scale, mlp), resnet50(scale, mlp)
    model = module(online_encoder=online, target_encoder=target, predictor=mlp(dim))
    scramble(model)
    checkpoint = {"epoch": 300, "model": data_parallel(model), "optimizer": optimizer_state(model)}
    return Reference(checkpoint, "model.module.", model, target, target.fc)


def dino_resnet50(scale=FULL, *, published=True):
    """`main_dino.py` saves: the student of DistributedDataParallel, the teacher as it is.

    The published head is of an earlier code: two layers with BatchNorm, a plain last layer. The
    public code's own, of the authors' example run, has three layers without.
    """
    dim, num_prototypes = 256 // scale, 60000 // scale

    def network():
        backbone = resnet50(scale)
        if published:
            width = 4096 // scale
            parts = [nn.Linear(backbone.channels, width), nn.BatchNorm1d(width), nn.GELU()]
            last_layer = nn.Linear(dim, num_prototypes, bias=False)
        else:
            width = 2048 // scale
            parts = [nn.Linear(backbone.channels, width), nn.GELU()]
            parts += [nn.Linear(width, width), nn.GELU()]
            last_layer = module()
            last_layer.weight_g = nn.Parameter(torch.ones(num_prototypes, 1))
            last_layer.weight_v = nn.Parameter(torch.zeros(num_prototypes, dim))
        mlp = nn.Sequential(*parts, nn.Linear(width, dim))
        return module(backbone=backbone, head=module(mlp=mlp, last_layer=last_layer))

    student, teacher = scramble(network(), seed=1), scramble(network())
    checkpoint = {
        "student": data_parallel(student),
        "teacher": teacher.state_dict(),
        "optimizer": optimizer_state(student),
        "epoch": 800,
        "args": argparse.Namespace(arch="resnet50", lr=0.03),
        "dino_loss": {"center": torch.zeros(1, num_prototypes)},
        "best_acc1": np.float64(0.5),
    }
    return Reference(checkpoint, "teacher.", teacher, teacher.backbone, teacher.head.mlp)


FULL_SIZE = {
    "barlow_twins_resnet50": barlow_twins_resnet50,
    "byol_resnet50": byol_resnet50,
    "dino_resnet50": dino_resnet50,
    "moco_v3_resnet18": moco_v3_resnet18,
    "moco_v3_resnet50": moco_v3_resnet50,
    "swav_resnet50": swav_resnet50,
}
SMALL_SIZE = {name: functools.partial(make, SMALL) for name, make in FULL_SIZE.items()}
SMALL_SIZE["dino_resnet50_example_run"] = functools.partial(dino_resnet50, SMALL, published=False)


def scramble(model, seed=0) -> Any:
    """Sets every array by its name and shape, as golden files have them; returns the model."""
    state = model.state_dict()
    drawn = goldens.draw({name: tuple(value.shape) for name, value in state.items()}, seed)
    model.load_state_dict({name: torch.from_numpy(array) for name, array in drawn.items()})
    return model.eval()


def data_parallel(model):
    return {f"module.{name}": value for name, value in model.state_dict().items()}


def optimizer_state(model):
    """What SGD with momentum saves after a step; at full size before any, to be quick."""
    parameters = list(model.parameters())
    is_small = sum(parameter.numel() for parameter in parameters) < 1_000_000
    buffers = {i: {"momentum_buffer": p.detach()} for i, p in enumerate(parameters) if is_small}
    group = {"lr": 0.1, "momentum": 0.9, "params": list(range(len(parameters)))}
    return {"state": buffers, "param_groups": [group]}


def write_goldens():
    """Writes anew what test_resnet_teachers.py compares with where PyTorch is absent."""
    for name, make in SMALL_SIZE.items():
        made = make()
        network = {name: tuple(value.shape) for name, value in made.network.state_dict().items()}
        goldens.save(name, made.prefix, network, made.outputs(goldens.images()))


if __name__ == "__main__":
    write_goldens()
