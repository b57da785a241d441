"""How large a network's map is for images of a size: asked before anything long, not found out."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from pcd_tf.errors import UserError

STEP = 32  # pixels between the image sizes that are tried as a remedy, as between --image_size's
# The first size that fits patches of both 14 and 16 pixels, and strides of 32, is 224: 7 steps.
NUM_STEPS = 7

Network = Callable[[Any], Any]  # float (B, S, S, 3) -> (B, h, w, D)
Size = tuple[int, int]


def check(networks: Mapping[str, Network], image_size: int) -> dict[str, Size]:
    """Finds the size of each network's map, without computing one where that can be.

    Args:
        networks: by what an error calls them.
        image_size: side of the square images, pixels.

    Raises:
        UserError: when a network does not take images of that size; says which sizes nearby all
            of them take.
    """
    sizes = {}
    for title, network in networks.items():
        try:
            sizes[title] = of(network, image_size)
        except (ValueError, TypeError, tf.errors.OpError) as error:
            fitting = _fitting(networks.values(), image_size)
            remedy = f"Sizes that fit: {fitting}." if fitting else "No other size nearby fits."
            raise UserError(
                f"Expected an image size that teacher and student take. Received: {image_size} "
                f"pixels, which the {title} refuses ({_reason(error)}). {remedy}"
            ) from error
    return sizes


def of(network: Network, image_size: int) -> Size:
    """Returns (h, w) of a network's map for images of one size."""
    shape = (1, image_size, image_size, 3)
    trace = tf.function(network, autograph=False)
    maps = trace.get_concrete_function(tf.TensorSpec(shape)).outputs[0]
    if len(maps.shape) != 4:
        raise UserError(f"expected a map (B, h, w, D), received shape {tuple(maps.shape)}")
    if None in maps.shape[1:3]:
        maps = network(tf.zeros(shape))  # a SavedModel tells its shapes only when it runs
    height, width = maps.shape[1:3]
    return height, width


def _fitting(networks: Any, image_size: int) -> str:
    """The next smaller and the next larger size that every network takes, as a text."""
    steps = image_size // STEP
    below = range(-(-image_size // STEP) - 1, 0, -1)[:NUM_STEPS]
    above = range(steps + 1, steps + 1 + NUM_STEPS)
    found = (
        next((STEP * step for step in way if _takes_all(networks, STEP * step)), None)
        for way in (below, above)
    )
    return ", ".join(str(size) for size in found if size)


def _takes_all(networks: Any, image_size: int) -> bool:
    try:
        for network in networks:
            of(network, image_size)
    except (ValueError, TypeError, tf.errors.OpError):
        return False
    return True


def _reason(error: Exception) -> str:
    """What went wrong in one line, without the call stack of layers that Keras puts around it."""
    text = str(error)
    inner = re.findall(r"\x1b\[1m(.*?)\x1b\[0m", text, re.DOTALL)
    return " ".join((inner[-1] if inner else text).split()).rstrip(".")
