"""The feature pyramid of a student: which of its maps stands for which level."""

import math
from collections import Counter
from collections.abc import Sequence

import keras

_FINEST = 2  # P2, the finest level that detectors and segmentation heads take
# Image sides to measure strides with: multiples of the strides up to 64 and of patches of 14.
_SIDES = (448, 896)


def pyramid(backbone: keras.Model) -> dict[str, keras.KerasTensor]:
    """Finds the maps of a backbone by level: see `pcd_tf.students.pyramid`."""
    given = [*getattr(backbone, "pyramid_outputs", {}).values()]
    candidates = [*(given or maps(backbone)), backbone.output]  # later ones are preferred
    levels = [level_of(stride) for stride in strides(backbone, candidates)]
    by_level = dict(zip(levels, candidates, strict=True))
    return {
        f"P{level}": by_level[level]
        for level in sorted(level for level in by_level if level is not None)
        if level >= _FINEST or level == levels[-1]
    }


def level_of(stride: float | None) -> int | None:
    """Returns n for a stride of 2**n; None for any other."""
    level = None if stride is None else round(math.log2(stride))
    return level if level is not None and stride == 2.0**level else None


def strides(network: keras.Model, tensors: Sequence[keras.KerasTensor]) -> list[float | None]:
    """Measures by how many pixels of the image neighbours of a map are apart; nothing is computed.

    Args:
        network: functional, of images (B, H, W, 3).
        tensors: of its graph, (B, h, w, C).

    Returns:
        one number for each; None where it does not grow with the image or differs by axis.
    """
    height, width = network.inputs[0].shape[1:3]
    if height is None and width is None:
        images = [keras.KerasTensor((1, side, side, 3), network.inputs[0].dtype) for side in _SIDES]
        function = keras.Function(network.inputs[0], list(tensors))
        small, large = ([x.shape for x in function.compute_output_spec(x)] for x in images)
        image_grows = (_SIDES[1] - _SIDES[0],) * 2
        grows = [(b[1] - a[1], b[2] - a[2]) for a, b in zip(small, large, strict=True)]
    else:
        image_grows = (height, width)
        grows = [x.shape[1:3] if x.shape[1:3] != (1, 1) else (0, 0) for x in tensors]
    return [_ratio(image_grows, size) for size in grows]


def maps(network: keras.Model) -> list[keras.KerasTensor]:
    """Lists the maps (B, h, w, C) inside a functional model, the last and the best at the end.

    First all, in the order of computation, then those that everything behind them is computed
    from: a residual block's output is one, what lies inside of the block is not. Zero-padded
    copies are left out.
    """
    nodes = [
        x for depth in sorted(network._nodes_by_depth)[::-1] for x in network._nodes_by_depth[depth]
    ]
    waiting = Counter(id(x) for node in nodes for x in node.input_tensors)
    waiting.update(id(x) for x in network.outputs)
    needed: set[int] = set()  # tensors computed already and used later on
    every, trunk = [], []
    for node in nodes:
        waiting.subtract(id(x) for x in node.input_tensors)
        needed.update(id(x) for x in node.outputs)
        needed = {x for x in needed if waiting[x]}
        if isinstance(node.operation, keras.layers.ZeroPadding2D):
            continue
        found = [x for x in node.outputs if len(x.shape) == 4 and x.shape[-1] is not None]
        every += found
        trunk += [x for x in found if needed == {id(x)}]
    return every + trunk


def _ratio(image: Sequence[int], size: Sequence[int]) -> float | None:
    vertical, horizontal = (a / b if b else None for a, b in zip(image, size, strict=True))
    return vertical if vertical == horizontal else None
