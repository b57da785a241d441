"""EfficientNet-B0: 4.0 M parameters, 1280 channels.

Source: Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks",
ICML 2019, arXiv 1905.11946, table 1.
"""

import keras
import keras_hub

_MOMENTUM = 0.9  # torchvision's and timm's; KerasHub has 0.99 in the blocks and no option for it


def build() -> keras_hub.models.EfficientNetBackbone:
    """Builds a randomly initialised EfficientNet-B0; the pyramid has P2..P5.

    Padding is symmetric and BatchNorm has epsilon 1e-5, as in torchvision and timm; the paper's own
    code pads as TensorFlow's "same" does and has 1e-3. No stochastic depth, where the paper drops
    up to 0.2 of the blocks: what an image's teacher says of each pixel is regularisation enough,
    and a student that is to follow it needs all its blocks (this project's choice).
    """
    backbone = keras_hub.models.EfficientNetBackbone(
        stackwise_kernel_sizes=[3, 3, 5, 3, 5, 5, 3],
        stackwise_num_repeats=[1, 2, 2, 3, 3, 4, 1],
        stackwise_input_filters=[32, 16, 24, 40, 80, 112, 192],
        stackwise_output_filters=[16, 24, 40, 80, 112, 192, 320],
        stackwise_expansion_ratios=[1, 6, 6, 6, 6, 6, 6],
        stackwise_strides=[1, 2, 2, 2, 1, 2, 1],
        stackwise_squeeze_and_excite_ratios=[0.25] * 7,
        stackwise_width_coefficients=[1.0] * 7,
        stackwise_depth_coefficients=[1.0] * 7,
        stackwise_block_types=["v1"] * 7,
        dropout=0.0,
        min_depth=None,
        use_depth_divisor_as_min_depth=True,
        cap_round_filter_decrease=True,
        batch_norm_momentum=_MOMENTUM,
        input_shape=(None, None, 3),
        name="efficientnet_b0",
    )
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = _MOMENTUM
    return backbone
