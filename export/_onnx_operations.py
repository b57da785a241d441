"""Operations of TensorFlow that tf2onnx does not know, told in ONNX's own."""

from typing import Any

import numpy as np


def register() -> None:
    """Makes them known to tf2onnx, for this process.

    `Erfc`, of the exact GELU of Vision Transformers: erfc(x) = 1 - erf(x).
    """
    from tf2onnx import handler, utils

    @handler.tf_op("Erfc")
    class _Erfc:
        @classmethod
        def version_9(cls, graph: Any, node: Any, **_: Any) -> None:
            node.type = "Erf"
            (erf,) = node.output
            one = graph.make_const(utils.make_name("one"), np.ones((), "float32")).output[0]
            difference = graph.insert_new_node_on_output(
                "Sub", erf, name=utils.make_name(node.name), inputs=[one, erf]
            )
            graph.copy_shape(erf, difference.output[0])
            graph.copy_dtype(erf, difference.output[0])
