"""From a user's network to a backbone: up to the map that is distilled, for any image size."""

import logging
from collections.abc import Mapping
from typing import Any

import keras
import keras_hub

from pcd_tf import plugins
from pcd_tf.errors import UserError
from pcd_tf.students import _pyramid

logger = logging.getLogger(__name__)


def backbone(network: keras.Model, pyramid: Mapping[str, str] | None = None) -> keras.Model:
    """Cuts a network behind its last map, and frees it of a fixed image size.

    Pooling, classifier and whatever else follows are left out, and the log says so. Models inside
    of the network are dissolved into their layers. All layers are the network's own, not copies.

    Args:
        network: functional or Sequential, images (B, H, W, 3) -> anything.
        pyramid: level -> the layer that gives it, {"P3": "layer_a", "P4": "layer_b"}; the
            coarsest is where the network is cut. None finds both.

    Returns:
        A functional model: images (B, H, W, 3) of any size -> (B, h, w, C); with a pyramid, its
        `pyramid_outputs` are the named maps. A network that is all this already is returned itself.

    Raises:
        UserError: when the network is not functional, does not take images, has no map or no layer
            of such a name, when a named layer has another stride, or the image size cannot be free.
    """
    if isinstance(network, keras.Sequential) and network.built:
        network = keras.Model(network.inputs[0], network.outputs[0], name=network.name)
    _check(network)
    if not pyramid and _is_backbone(network):
        return network
    images = keras.Input(network.inputs[0].shape[1:], dtype=network.inputs[0].dtype)
    whole = keras.Model(images, _run(network, images), name=network.name)
    last = _named(whole, pyramid)[max(pyramid, key=_number)] if pyramid else _last_map(whole)
    cut = _any_size(keras.Model(images, last, name=network.name))
    if last is not whole.outputs[0]:
        kept = {layer.name for layer in cut.layers}
        left_out = [x.name for x in whole.layers[1:] if x.name not in kept]
        logger.warning(
            "The student %s is cut behind its layer %s, a map of %d channels. Left out: %s.",
            *(network.name, _layer(last), last.shape[-1], _some(left_out)),
        )
    if pyramid:
        cut.pyramid_outputs = named(cut, pyramid)
    return cut


def named(network: keras.Model, pyramid: Mapping[str, str]) -> dict[str, keras.KerasTensor]:
    """Finds the maps of a pyramid by the names of their layers.

    Raises:
        UserError: when there is no such layer, or its map has not the stride of its level.
    """
    found = _named(network, pyramid)
    strides = dict(zip(found, _pyramid.strides(network, list(found.values())), strict=True))
    for level, stride in strides.items():
        if _pyramid.level_of(stride) != _number(level):
            raise UserError(
                f"Expected a map of stride {2 ** _number(level)} for {level}. Received: the layer "
                f"{pyramid[level]}, of stride {stride or 'none'}."
            )
    return found


def _named(network: keras.Model, pyramid: Mapping[str, str]) -> dict[str, keras.KerasTensor]:
    by_layer = {_layer(x): x for x in _pyramid.maps(network)}
    for level, layer in pyramid.items():
        if layer not in by_layer:
            raise UserError(
                f"Expected a layer of {network.name} that gives a map (B, h, w, C), for {level}. "
                f"Received: {layer!r}.{plugins.did_you_mean(layer, by_layer)} Its maps, the last "
                f"ones: {_some(list(by_layer)[::-1])}."
            )
    return {level: by_layer[layer] for level, layer in pyramid.items()}


def _check(network: keras.Model) -> None:
    if not isinstance(network, keras.Function):
        raise UserError(
            "Expected a functional keras.Model, or a Sequential one with an Input: its layers must "
            f"be known. Received: {network.name}, a {type(network).__name__}: make it by "
            "keras.Model(inputs, outputs)."
        )
    shapes = [tuple(x.shape) for x in network.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][-1] != 3:
        raise UserError(
            "Expected a model of one input, images (B, H, W, 3). Received: "
            f"{network.name} of {', '.join(map(str, shapes))}."
        )


def _is_backbone(network: keras.Model) -> bool:
    is_whole = isinstance(network, keras_hub.models.Backbone) or not any(
        isinstance(layer, keras.Model) for layer in network.layers
    )
    is_free = network.inputs[0].shape[1:3] == (None, None)
    return is_whole and is_free and len(network.outputs) == 1 and _is_map(network.outputs[0])


def _is_map(tensor: keras.KerasTensor) -> bool:
    *place, channels = tensor.shape[1:]
    return len(place) == 2 and place != [1, 1] and channels is not None  # 1 x 1 is pooled


def _last_map(network: keras.Model) -> keras.KerasTensor:
    """The network's output when it is a map, else the last that all that follows comes from."""
    if len(network.outputs) == 1 and _is_map(network.outputs[0]):
        return network.outputs[0]
    found = _pyramid.maps(network)
    strides = _pyramid.strides(network, found)
    # What does not grow with the image is a pooled vector, and stride 1 the image itself.
    usable = [
        x for x, stride in zip(found, strides, strict=True) if _is_map(x) and (stride or 0) > 1
    ]
    if not usable:
        raise UserError(
            "Expected a network with a map (B, h, w, C) of a known number of channels, smaller "
            f"than the image. Received: {network.name}, which has none."
        )
    return usable[-1]


def _any_size(network: keras.Model) -> keras.Model:
    size = network.inputs[0].shape[1:3]
    if size == (None, None):
        return network
    images = keras.Input((None, None, 3), dtype=network.inputs[0].dtype)
    try:
        freed = keras.Model(images, _run(network, images), name=network.name)
        (stride,) = _pyramid.strides(freed, freed.outputs)
        reason = "" if stride else "its map does not grow with the image"
    except Exception as error:  # a layer bound to a size can raise anything
        reason = str(error).strip().partition("\n")[0][:200]
    if reason:
        raise UserError(
            f"Expected a model for images of any size. Received: {network.name}, made for "
            f"{size[0]} x {size[1]} pixels and bound to them ({reason}): make it on "
            "keras.Input((None, None, 3))."
        )
    return freed


def _run(network: keras.Model, images: keras.KerasTensor) -> Any:
    """Lets the network's layers run on another input, those of models inside it one by one."""

    def call(layer: Any, *inputs: Any, **options: Any) -> Any:
        if isinstance(layer, keras.Sequential):
            layer = keras.Model(layer.inputs[0], layer.outputs[0])
        if isinstance(layer, keras.Function) and len(layer.inputs) == len(layer.outputs) == 1:
            return _run(layer, inputs[0])
        return layer(*inputs, **options)

    return network._run_through_graph(images, call_fn=call)


def _layer(tensor: keras.KerasTensor) -> str:
    return tensor._keras_history.operation.name


def _number(level: str) -> int:
    return int(level.removeprefix("P"))


def _some(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
