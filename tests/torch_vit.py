"""The ViT teachers as their authors trained them, written in PyTorch for the tests.

The Vision Transformer is timm's. Every module and key has the published name; weights are random.
"""

import argparse
import functools

import torch
from torch import nn

from tests import goldens, torch_models


class VisionTransformer(nn.Module):
    """timm's names and layouts: images (B, 3, H, W) -> all tokens (B, 1 + N, C), normed."""

    def __init__(self, channels, num_heads, *, num_layers=12, patch_size=16, image_size=224):
        super().__init__()
        self.patch_size = patch_size
        self.side = image_size // patch_size
        self.cls_token = nn.Parameter(torch.zeros(1, 1, channels))
        self.pos_embed = nn.Parameter(torch.zeros(1, self.side**2 + 1, channels))
        self.patch_embed = PatchEmbed(patch_size, channels)
        self.blocks = nn.ModuleList([Block(channels, num_heads) for _ in range(num_layers)])
        self.norm = nn.LayerNorm(channels, eps=1e-6)

    def forward(self, images):
        x = self.patch_embed.proj(images)  # [B, C, h, w]
        positions = self.positions(*x.shape[2:])
        x = x.flatten(2).transpose(1, 2)  # [B, h*w, C]
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1) + positions
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def map(self, images):
        tokens = self(images)[:, 1:].transpose(1, 2)  # [B, C, h*w]
        return tokens.unflatten(2, (images.shape[2] // self.patch_size, -1))

    def positions(self, height, width):
        table = self.pos_embed[:, 1:].transpose(1, 2)  # [1, C, g*g]
        table = nn.functional.interpolate(
            table.unflatten(2, (self.side, self.side)),
            (height, width),
            mode="bicubic",
            antialias=True,
        )
        return torch.cat([self.pos_embed[:, :1], table.flatten(2).transpose(1, 2)], dim=1)


class PatchEmbed(nn.Module):
    def __init__(self, patch_size, channels):
        super().__init__()
        self.proj = nn.Conv2d(3, channels, patch_size, stride=patch_size)


class Block(nn.Module):
    def __init__(self, channels, num_heads):
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=1e-6)
        self.attn = Attention(channels, num_heads)
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = Mlp(channels)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Attention(nn.Module):
    def __init__(self, channels, num_heads):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x):
        qkv = self.qkv(x).unflatten(2, (3, self.num_heads, -1))  # [B, N, 3, heads, d]
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # [B, heads, N, d] each
        scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
        mixed = scores.softmax(dim=-1) @ value  # [B, heads, N, d]
        return self.proj(mixed.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.fc1 = nn.Linear(channels, 4 * channels)
        self.fc2 = nn.Linear(4 * channels, channels)

    def forward(self, x):
        return self.fc2(nn.functional.gelu(self.fc1(x)))


def moco_v3(channels, num_heads, *, units=(4096, 256), **settings):
    """`main_moco.py` saves: base and momentum encoder, each with its projector as `head`."""
    hidden, dim = units

    def encoder():
        vit = VisionTransformer(channels, num_heads, **settings)
        vit.head = nn.Sequential(
            nn.Linear(channels, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, dim, bias=False),
            nn.BatchNorm1d(dim, affine=False),
        )
        return vit

    model, vit = nn.Module(), encoder()
    model.base_encoder, model.momentum_encoder = encoder(), vit
    model.predictor = nn.Sequential(nn.Linear(dim, hidden, bias=False), nn.BatchNorm1d(hidden))
    torch_models.scramble(model)
    checkpoint = {
        "epoch": 300,
        "arch": "vit_small",
        "state_dict": torch_models.data_parallel(model),
        "optimizer": torch_models.optimizer_state(model),
        "scaler": {"scale": 65536.0, "growth_factor": 2.0},
    }
    return torch_models.Reference(checkpoint, "state_dict.module.", model, vit.map, vit.head)


def dino(channels, num_heads, *, units=(2048, 256), num_prototypes=65536, norm=False, **settings):
    """`main_dino.py` saves: the student of DistributedDataParallel, the teacher as it is."""
    hidden, dim = units

    def network():
        model = nn.Module()
        model.backbone = VisionTransformer(channels, num_heads, **settings)
        model.head = nn.Module()
        norms = [[nn.BatchNorm1d(hidden)] if norm else [] for _ in range(2)]
        model.head.mlp = nn.Sequential(
            *(nn.Linear(channels, hidden), *norms[0], nn.GELU()),
            *(nn.Linear(hidden, hidden), *norms[1], nn.GELU()),
            nn.Linear(hidden, dim),
        )
        model.head.last_layer = nn.Module()
        model.head.last_layer.weight_g = nn.Parameter(torch.ones(num_prototypes, 1))
        model.head.last_layer.weight_v = nn.Parameter(torch.zeros(num_prototypes, dim))
        return model

    student = torch_models.scramble(network(), seed=1)
    teacher = torch_models.scramble(network())
    checkpoint = {
        "student": torch_models.data_parallel(student),
        "teacher": teacher.state_dict(),
        "optimizer": torch_models.optimizer_state(student),
        "epoch": 100,
        "args": argparse.Namespace(arch="vit_small", patch_size=16, use_bn_in_head=norm),
        "dino_loss": {"center": torch.zeros(1, num_prototypes)},
        "fp16_scaler": {"scale": 65536.0},
    }
    return torch_models.Reference(
        checkpoint, "teacher.", teacher, teacher.backbone.map, teacher.head.mlp
    )


FULL = {
    "moco_v3_vit_s16": functools.partial(moco_v3, 384, 12),
    "moco_v3_vit_b16": functools.partial(moco_v3, 768, 12),
    "dino_vit_s16": functools.partial(dino, 384, 6),
    "dino_vit_b16": functools.partial(dino, 768, 12),
}
_SMALL = {"num_layers": 2, "patch_size": 8, "image_size": 32, "units": (24, 8)}
SMALL = {
    "moco_v3": functools.partial(moco_v3, 16, 4, **_SMALL),
    "dino": functools.partial(dino, 16, 2, num_prototypes=10, **_SMALL),
    "dino_norm": functools.partial(dino, 16, 2, num_prototypes=10, norm=True, **_SMALL),
}


def write_goldens(shapes=((2, 32, 32, 3), (2, 24, 48, 3))):
    """Writes anew what test_vit_teachers.py compares with where PyTorch is absent."""
    for layout, make in SMALL.items():
        made = make()
        network = {name: tuple(value.shape) for name, value in made.network.state_dict().items()}
        for shape in shapes:
            name = f"vit_{layout}_{shape[1]}x{shape[2]}"
            goldens.save(name, made.prefix, network, made.outputs(goldens.images(shape)))


if __name__ == "__main__":
    write_goldens()
