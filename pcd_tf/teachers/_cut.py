"""A Keras model cut into a teacher's two parts: what makes the map, and the vector head."""

import itertools
from collections.abc import Iterable
from typing import Any

import keras
from keras import layers

from pcd_tf import plugins
from pcd_tf.errors import UserError
from pcd_tf.teachers import _head

_NUM_LISTED = 12  # how many names an error lists; the last ones are the likeliest
_IDLE = (layers.Dropout, layers.Identity, layers.InputLayer)  # they do nothing in inference


def cut(
    model: keras.Model, map_name: str | None = None, head_name: str | None = None
) -> tuple[keras.Model, keras.Sequential]:
    """Finds backbone and head in a model.

    Without names, the model's output is the map, and there is no head. A layer named as the map
    gives it, and there is none either. A layer named as the head is the head itself when it holds
    layers (a nested model, a ProjectionHead), else the first of a chain up to the model's output;
    the map is what is averaged in front of it.

    Args:
        model: functional or Sequential; any other only when its output is the map.
        map_name: the layer whose output is the map (B, h, w, C).
        head_name: the layer that the head is, or begins with.

    Returns:
        (B, H, W, 3) -> (B, h, w, C), and the head (B, C) -> (B, D): an Identity for none.

    Raises:
        UserError: when there is no such layer, or it is no map or no head; when there are several,
            or something else than averaging stands between map and head.
    """
    graph = _Graph(model)
    head: keras.Sequential | None = None
    if map_name is not None:
        feature_map = graph.output_of(map_name)
    elif head_name is None:
        feature_map = graph.output
    if head_name is not None:
        pooled, parts = graph.head(head_name)
        averaged = graph.averaged(pooled, head_name)
        if map_name is not None and averaged is not feature_map:
            raise UserError(
                f"Expected the map whose mean the head {head_name!r} takes, which is the output of "
                f"{graph.name_of(averaged)!r}. Received: {map_name!r}: name that one, or none."
            )
        feature_map = averaged
        head = keras.Sequential([keras.Input(pooled.shape[1:]), *parts], name="head")
    if len(feature_map.shape) != 4 or feature_map.shape[-1] is None:
        what = "the model's output" if map_name is None and head is None else "the map"
        raise UserError(
            f"Expected {what} to be a map (B, h, w, C), C known. Received: shape "
            f"{tuple(feature_map.shape)} of {graph.name_of(feature_map)!r}. Name a map by "
            f"--teacher_map ({_some(graph.names(4))}) and, if it has one, the vector head behind "
            f"its mean by --teacher_head ({_some(graph.names(2))})."
        )
    backbone = keras.Model(graph.images, feature_map, name="backbone")
    return backbone, head or _head.none(feature_map.shape[-1])


class _Graph:
    """The calls of a model's layers, by names and by tensors."""

    def __init__(self, model: keras.Model) -> None:
        if not model.inputs:  # subclassed: its graph cannot be read, so it is one call in ours
            images = keras.Input((None, None, 3))
            model = keras.Model(images, model(images), name=model.name)
        if len(model.inputs) != 1 or len(model.inputs[0].shape) != 4:
            raise UserError(
                "Expected a model of one input, images (B, H, W, 3). Received: inputs of shape "
                f"{', '.join(str(tuple(x.shape)) for x in model.inputs)}."
            )
        (self.images,) = model.inputs
        self.nodes = _nodes(keras.Model(model.inputs, model.outputs))
        self.outputs = model.outputs
        self.made_by = {id(tensor): node for node in self.nodes for tensor in node.outputs}

    @property
    def output(self) -> Any:
        if len(self.outputs) > 1:
            names = [self.name_of(tensor) for tensor in self.outputs]
            raise UserError(
                "Expected a model of one output, or --teacher_map to name the layer that gives the "
                f"map. Received: a model of {len(names)} outputs, of {', '.join(names)}."
            )
        return self.outputs[0]

    def names(self, rank: int) -> list[str]:
        """Lists the layers whose output has so many axes."""
        return [n.operation.name for n in self.nodes if len(n.outputs[0].shape) == rank]

    def name_of(self, tensor: Any) -> str:
        name: str = self.made_by[id(tensor)].operation.name
        return name

    def node(self, name: str, rank: int) -> Any:
        """The one call of a layer; `rank` is for the names that an error lists."""
        found = [node for node in self.nodes if node.operation.name == name]
        if not found:
            known = [node.operation.name for node in self.nodes]
            raise UserError(
                f"Expected the name of a layer, such as {_some(self.names(rank))}. "
                f"Received: {name!r}.{plugins.did_you_mean(name, known)}"
            )
        if len(found) > 1 or len(found[0].outputs) > 1:
            raise UserError(
                f"Expected a layer that is called once and gives one output. Received: {name!r}, "
                f"called {len(found)} times, with {len(found[0].outputs)} outputs."
            )
        return found[0]

    def output_of(self, name: str) -> Any:
        return self.node(name, rank=4).outputs[0]

    def head(self, name: str) -> tuple[Any, list[Any]]:
        """Returns the vectors that a head takes, and its plain layers in their order."""
        node = self.node(name, rank=2)
        if len(node.input_tensors) != 1 or len(node.input_tensors[0].shape) != 2:
            shapes = [tuple(tensor.shape) for tensor in node.input_tensors]
            raise UserError(
                "Expected a head that takes vectors (B, C): the first layer behind the mean over "
                f"pixels. Received: {name!r}, which takes {', '.join(map(str, shapes))}."
            )
        calls = [node]
        if not hasattr(node.operation, "layers"):
            while not any(calls[-1].outputs[0] is output for output in self.outputs):
                calls.append(self._next(calls[-1]))
        return node.input_tensors[0], _plain(call.operation for call in calls)

    def averaged(self, vectors: Any, head_name: str) -> Any:
        """Returns the map of whose pixels the vectors are the mean."""
        while True:
            node = self.made_by[id(vectors)]
            layer = node.operation
            vectors = node.input_tensors[0] if len(node.input_tensors) == 1 else None
            if _is_mean_over_pixels(layer):
                return vectors
            if vectors is None or not isinstance(layer, (*_IDLE, layers.Flatten)):
                raise UserError(
                    "Expected the mean over all pixels of a map in front of the head, as a "
                    "GlobalAveragePooling2D: it is what SpatialAdaptor keeps. Received: "
                    f"{layer.name!r}, a {type(layer).__name__}, in front of {head_name!r}."
                )

    def _next(self, node: Any) -> Any:
        tensor = node.outputs[0]
        users = [n for n in self.nodes if any(x is tensor for x in n.input_tensors)]
        if len(users) != 1 or len(users[0].input_tensors) != 1:
            raise UserError(
                "Expected a head that is one chain of layers up to the model's output. Received: "
                f"one that branches at {node.operation.name!r}. Make it a nested model, and name "
                "that."
            )
        return users[0]


def _nodes(model: Any) -> list[Any]:
    """The calls in a functional model, in their order."""
    by_depth = model._nodes_by_depth
    return [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]


def _plain(parts: Iterable[Any]) -> list[Any]:
    """The layers of a head with nested ones opened, those left out that do nothing."""
    found: list[Any] = []
    for part in parts:
        if isinstance(part, keras.Model) and not isinstance(part, keras.Sequential):
            nodes = _nodes(part) if part.inputs else []
            chained = [
                len(node.input_tensors) == 1 and node.input_tensors[0] is before.outputs[0]
                for before, node in itertools.pairwise(nodes)
            ]
            if not nodes or not all(chained):
                raise UserError(
                    "Expected a head that is one chain of layers, without branches. Received: "
                    f"{part.name!r}, which is not."
                )
            found += _plain(node.operation for node in nodes)
        elif hasattr(part, "layers"):
            found += _plain(part.layers)
        elif not isinstance(part, _IDLE):
            found.append(part)
    return found


def _is_mean_over_pixels(layer: Any) -> bool:
    if isinstance(layer, layers.GlobalAveragePooling2D):
        return layer.data_format == "channels_last"
    is_mean = type(layer).__name__ == "Mean"  # keras.ops.mean
    return is_mean and tuple(sorted(axis % 4 for axis in layer.axis or ())) == (1, 2)


def _some(names: list[str]) -> str:
    more = len(names) - _NUM_LISTED
    return (f"{more} more, " if more > 0 else "") + ", ".join(names[-_NUM_LISTED:])
