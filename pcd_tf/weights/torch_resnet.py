"""A PyTorch ResNet that takes torchvision's state dicts, to compare outputs with."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def network(state: Mapping[str, Array]) -> Callable[[Array], dict[str, Array]]:
    """Builds the ResNet that a state dict is of, loads it (strictly), and gives it as a function.

    It is torchvision's network without the classifier, with the depth, the widths and the kind of
    block that the names and shapes tell; written anew, as torchvision is no requirement.
    Source: He et al., "Deep Residual Learning for Image Recognition", 2016, arXiv 1512.03385; the
    stride of a bottleneck stands in its 3x3 convolution.

    Args:
        state: torchvision's names -> arrays in PyTorch's layouts, without `fc`.

    Returns:
        a function: normalised images, float32 (B, H, W, 3) -> the maps after each stack,
        `layer1` .. `layer4`, float32 (B, h, w, C).

    Raises:
        RuntimeError: when names are missing or left over, or shapes do not fit.

    Example:
        network(torchvision.from_keras(backbone))(images)["layer4"].shape  # (B, h, w, 512)
    """
    import torch

    module = _module(state)
    module.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
    module.eval()

    def maps(images: Array) -> dict[str, Array]:
        x = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))  # (B, 3, H, W)
        found = {}
        with torch.no_grad():
            x = module.bn1(module.conv1(x)).relu()
            x = torch.nn.functional.max_pool2d(x, 3, 2, 1)
            for name in _STACKS:
                x = getattr(module, name)(x)
                found[name] = x.numpy().transpose(0, 2, 3, 1)  # (B, h, w, C)
        return found

    return maps


_STACKS = ("layer1", "layer2", "layer3", "layer4")


def _module(state: Mapping[str, Array]) -> Any:
    """The modules by torchvision's names, randomly initialised."""
    from torch import nn

    module = nn.Module()
    module.conv1, module.bn1 = _convolution(state, "conv1", 2, 3), _norm(state, "bn1")
    for place, name in enumerate(_STACKS):
        blocks = {key.split(".")[1] for key in state if key.startswith(f"{name}.")}
        strides = [1 if place == 0 else 2] + [1] * (len(blocks) - 1)
        stack = [_block(state, f"{name}.{i}", stride) for i, stride in enumerate(strides)]
        setattr(module, name, nn.Sequential(*stack))
    return module


def _block(state: Mapping[str, Array], prefix: str, stride: int) -> Any:
    """A basic block, or a bottleneck where there is a third convolution."""
    from torch import nn

    numbers = [i for i in (1, 2, 3) if f"{prefix}.conv{i}.weight" in state]
    strided = 2 if len(numbers) == 3 else 1  # which convolution has the stride

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for i in numbers:
                step = stride if i == strided else 1
                setattr(self, f"conv{i}", _convolution(state, f"{prefix}.conv{i}", step))
                setattr(self, f"bn{i}", _norm(state, f"{prefix}.bn{i}"))
            shortcut = []
            if f"{prefix}.downsample.0.weight" in state:
                shortcut = [
                    _convolution(state, f"{prefix}.downsample.0", stride),
                    _norm(state, f"{prefix}.downsample.1"),
                ]
            self.downsample = nn.Sequential(*shortcut)  # the identity when it is empty

        def forward(self, x: Any) -> Any:
            y = x
            for i in numbers:
                y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
                if i != numbers[-1]:
                    y = y.relu()
            return (y + self.downsample(x)).relu()

    return Block()


def _convolution(
    state: Mapping[str, Array], name: str, stride: int, padding: int | None = None
) -> Any:
    from torch import nn

    out_channels, in_channels, size, _ = state[f"{name}.weight"].shape
    padding = size // 2 if padding is None else padding
    return nn.Conv2d(in_channels, out_channels, size, stride, padding, bias=False)


def _norm(state: Mapping[str, Array], name: str) -> Any:
    from torch import nn

    return nn.BatchNorm2d(len(state[f"{name}.weight"]))
