"""Bounds of the settings that several jobs have, each with its reason.

Beyond them lies no use, but an overflow or a machine without memory long after the command was
given.
"""

from typing import Any

# 4096 x 4096 pixels of 64 channels in float32.
SIDE: dict[str, Any] = {
    "maximum": 8192,
    "maximum_reason": "At 8192 pixels the first map of a ResNet takes 4 GiB an image.",
}
# Zhai et al., Sigmoid Loss for Language Image Pre-Training, 2023, arXiv 2303.15343.
TRAINING_BATCH: dict[str, Any] = {
    "maximum": 2**20,
    "maximum_reason": "The largest batch that was ever published has a million images.",
}
# 65536 x 224 x 224 x 3 in float32.
BATCH: dict[str, Any] = {
    "minimum": 1,
    "maximum": 2**16,
    "maximum_reason": "65536 images of 224 pixels take 37 GiB.",
}
EPOCHS: dict[str, Any] = {
    "maximum": 10**6,
    "maximum_reason": "It is hundreds of times as long as any published run.",
}
STEPS: dict[str, Any] = {
    "minimum": 1,
    "maximum": 10**8,
    "maximum_reason": "At ten steps a second 100000000 take four months.",
}
LEARNING_RATE: dict[str, Any] = {
    "above": 0,
    "maximum": 1000,
    "maximum_reason": "It is eighty times the largest rate of a recipe here: the weights overflow.",
}
LARGEST_SEED = 2**32 - 1
SEED: dict[str, Any] = {
    "minimum": 0,
    "maximum": LARGEST_SEED,
    "maximum_reason": "NumPy's seeds have 32 bits.",
}
