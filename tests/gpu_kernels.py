"""What a GPU would refuse of a step, asked without one: TensorFlow's list of kernels."""

from collections.abc import Iterator

import tensorflow as tf
from tensorflow.python.framework import kernels, op_def_registry

_ON_A_GPU = ("GPU", "DEFAULT")  # the second: wherever there is no kernel of the device's own


def lists_gpus():
    """Whether this TensorFlow was built with CUDA, so that its list has what a GPU computes."""
    return any(kernel.device_type == "GPU" for kernel in _kernels("Conv2D"))


def int32_variables(function):
    """Names the int32 variables of a concrete function: TensorFlow keeps them on the host."""
    return [v.name for v in function.variables if v.dtype == tf.int32]


def without_kernel(function):
    """Gives the (op, types) of a concrete function that a GPU has no kernel for."""
    definition = function.graph.as_graph_def()
    nodes = [*definition.node]
    for inner in definition.library.function:
        nodes += inner.node_def
    return {
        (node.op, *sorted({t.name for t in _types(node).values() if isinstance(t, tf.DType)}))
        for node in nodes
        if not any(
            kernel.device_type in _ON_A_GPU and _fits(kernel, _types(node))
            for kernel in _kernels(node.op)
        )
    }


def _kernels(op):
    return kernels.get_registered_kernels_for_op(op).kernel


def _types(node):
    """The attributes of a node that are types, or lists of them: name -> tf.DType or a tuple."""
    values = dict(node.attr.items())
    definition = op_def_registry.get(node.op)
    for attribute in definition.attr if definition else ():
        if attribute.HasField("default_value"):
            values.setdefault(attribute.name, attribute.default_value)
    found = {}
    for name, value in values.items():
        if value.WhichOneof("value") == "type":
            found[name] = tf.as_dtype(value.type)
        elif value.list.type:
            found[name] = tuple(map(tf.as_dtype, value.list.type))
    return found


def _fits(kernel, types):
    return all(
        set(_listed(types.get(constraint.name)))
        <= {tf.as_dtype(value) for value in constraint.allowed_values.list.type}
        for constraint in kernel.constraint
    )


def _listed(types) -> Iterator[tf.DType]:
    return iter(types if isinstance(types, tuple) else () if types is None else (types,))
