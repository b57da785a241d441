"""Grouped convolutions with one channel a group, computed as the depthwise ones that they are."""

from typing import Any

import keras


def use_depthwise_kernels(network: keras.Model) -> None:
    """Makes every such convolution of a model run on the backend's depthwise kernel.

    KerasHub's MobileNets write their depthwise convolutions as grouped ones. TensorFlow has no
    grouped convolution on a CPU, so Keras compiles each by XLA: 13 times slower (a step of
    MobileNetV3-Small on 8 images of 64 px on 2 cores: 0.52 s against 0.039 s), and nothing that an
    ONNX file could hold. Variables, their shapes and the saved model stay as they are.
    """
    for layer in network._flatten_layers():
        if _is_depthwise(layer):
            layer.convolution_op = _Depthwise(layer)


def _is_depthwise(layer: Any) -> bool:
    return (
        isinstance(layer, keras.layers.Conv2D)
        and layer.groups > 1
        and layer.kernel.shape[2] == 1  # input channels of a group
        and layer.strides[0] == layer.strides[1]  # what TensorFlow's kernel is for
    )


class _Depthwise:
    """The convolution of one layer: (inputs, kernel) -> outputs."""

    def __init__(self, layer: keras.layers.Conv2D) -> None:
        self._groups = layer.groups
        self._options = {
            "strides": layer.strides[0],
            "padding": layer.padding,
            "dilation_rate": layer.dilation_rate,
            "data_format": layer.data_format,
        }

    def __call__(self, inputs: Any, kernel: Any) -> Any:
        height, width, _, filters = kernel.shape
        shape = (height, width, self._groups, filters // self._groups)
        kernel = keras.ops.reshape(kernel, shape)  # [h, w, 1, C * m] -> [h, w, C, m]
        return keras.ops.depthwise_conv(inputs, kernel, **self._options)
