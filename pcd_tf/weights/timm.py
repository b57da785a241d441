"""Vision Transformers between timm's names and layouts and `VisionTransformer`'s, both ways."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt

from pcd_tf.errors import UserError

Array = npt.NDArray[Any]

FIRST = "patch_embed.proj.weight"  # of every Vision Transformer, and of no other network
_CLASSIFIER = ("head.weight", "head.bias")  # a backbone has none


class _Part(NamedTuple):
    """One array of timm's, of which each variable is an equal share along the first axis."""

    name: str
    variables: tuple[str, ...]  # names as `arrays.variables` has them
    shape: tuple[int, ...]  # in PyTorch
    axes: tuple[int, ...]  # which transpose PyTorch's array for Keras


def shapes(model: keras.Model) -> dict[str, tuple[int, ...]]:
    """Lists the arrays that the backbone needs: timm's names -> shapes in PyTorch."""
    return {part.name: part.shape for part in _parts(_named(model))}


def to_keras(state: Mapping[str, Array], model: keras.Model) -> dict[str, Array]:
    """Gives a timm state dict the names and layouts of the backbone's variables.

    The classifier `head` is left out, as a backbone has none. Every other name that is none of the
    backbone's is kept as it is, and missing ones stay missing, so that `arrays.assign` finds both.

    Args:
        state: timm's names -> arrays, `blocks.0.attn.qkv.weight` for example.
        model: a VisionTransformer.

    Returns:
        names as `arrays.variables(model)` has them -> arrays.

    Raises:
        UserError: when arrays are of another shape than the backbone's; names both shapes.

    Example:
        arrays.assign(arrays.variables(vit), to_keras(state, vit), origin="deit_tiny.safetensors")
    """
    named = _named(model)
    rest = {name: array for name, array in state.items() if name not in _CLASSIFIER}
    converted: dict[str, Array] = {}
    misfits = []
    for part in _parts(named):
        array = rest.pop(part.name, None)
        if array is None:
            continue
        if array.shape != part.shape:
            misfits.append(f"{part.name} (expected {part.shape}, received {array.shape})")
            continue
        shares = np.split(array, len(part.variables))
        for name, share in zip(part.variables, shares, strict=True):
            converted[name] = np.transpose(share, part.axes).reshape(named[name].shape)
    if misfits:
        raise UserError(
            f"Expected a Vision Transformer like {model.name}. Received: {len(misfits)} arrays of "
            f"another shape, the first of them {', '.join(misfits[:3])}."
        )
    return converted | rest


def from_keras(model: keras.Model) -> dict[str, Array]:
    """Returns the backbone's variables as timm's state dict has them, without `head`.

    Args:
        model: a VisionTransformer.

    Returns:
        timm's names -> arrays in PyTorch's layouts, for `load_state_dict`.
    """
    named = _named(model)
    return {part.name: _in_pytorch(part, named) for part in _parts(named)}


def _in_pytorch(part: _Part, named: Mapping[str, keras.Variable]) -> Array:
    share = (part.shape[0] // len(part.variables), *part.shape[1:])
    before = [share[axis] for axis in part.axes]
    back = np.argsort(part.axes)
    values = [keras.ops.convert_to_numpy(named[name]) for name in part.variables]
    return np.concatenate([np.transpose(array.reshape(before), back) for array in values])


def _named(model: keras.Model) -> dict[str, keras.Variable]:
    """The backbone's variables by the names that `arrays.variables` gives them."""
    return {
        f"{layer.name}/{variable.path.removeprefix(f'{layer.path}/')}": variable
        for layer in model.layers
        for variable in layer.weights
    }


def _parts(named: Mapping[str, keras.Variable]) -> Iterator[_Part]:
    """Says for each of timm's arrays, in timm's order, what it is here."""
    tokens, encoder = "tokens/", "vit_encoder/"
    channels = named[f"{tokens}class_token"].shape[-1]
    for name, variable in (("cls_token", "class_token"), ("pos_embed", "positions")):
        shape = tuple(named[f"{tokens}{variable}"].shape)
        yield _Part(name, (f"{tokens}{variable}",), shape, (0, 1, 2))
    height, width, colours, _ = named[f"{tokens}patches/kernel"].shape
    shape = (channels, colours, height, width)
    yield _Part(FIRST, (f"{tokens}patches/kernel",), shape, (2, 3, 1, 0))
    yield _Part("patch_embed.proj.bias", (f"{tokens}patches/bias",), (channels,), (0,))
    number = 0
    while any(name.startswith(f"{encoder}transformer_block_{number + 1}/") for name in named):
        block, here = f"blocks.{number}.", f"{encoder}transformer_block_{number + 1}/"
        mlp_dim = named[f"{here}mlp/dense_1/bias"].shape[0]
        heads = tuple(f"{here}mha/{kind}" for kind in ("query", "key", "value"))
        yield from _norm(f"{block}norm1", f"{here}ln_1", channels)
        yield from _linear(f"{block}attn.qkv", heads, (3 * channels, channels))
        output = (f"{here}mha/attention_output",)
        yield from _linear(f"{block}attn.proj", output, (channels, channels))
        yield from _norm(f"{block}norm2", f"{here}ln_2", channels)
        yield from _linear(f"{block}mlp.fc1", (f"{here}mlp/dense_1",), (mlp_dim, channels))
        yield from _linear(f"{block}mlp.fc2", (f"{here}mlp/dense_2",), (channels, mlp_dim))
        number += 1
    yield from _norm("norm", f"{encoder}ln", channels)


def _norm(name: str, layer: str, channels: int) -> Iterator[_Part]:
    yield _Part(f"{name}.weight", (f"{layer}/gamma",), (channels,), (0,))
    yield _Part(f"{name}.bias", (f"{layer}/beta",), (channels,), (0,))


def _linear(name: str, layers: tuple[str, ...], shape: tuple[int, int]) -> Iterator[_Part]:
    kernels = tuple(f"{layer}/kernel" for layer in layers)
    yield _Part(f"{name}.weight", kernels, shape, (1, 0))  # (out, in) -> (in, out)
    yield _Part(f"{name}.bias", tuple(f"{layer}/bias" for layer in layers), shape[:1], (0,))
