"""`--model=deeplab_v3_plus`: KerasHub's DeepLabV3+ decoder, atrous pyramid on P5, detail from P2.

Source: Chen et al., "Encoder-Decoder with Atrous Separable Convolution for Semantic Image
Segmentation", 2018, arXiv 1802.02611.
"""

from collections.abc import Mapping

import keras
import keras_hub
from keras import layers

# The paper's 6, 12 and 18 are for maps of stride 16 and double at 8; so they halve at 32.
_RATES = [3, 6, 9]
_LOW_LEVEL_CHANNELS = 48  # section 4.1 of the paper
_UPSAMPLING = 8  # from stride 32 to that of P2, 4


def network(
    backbone: keras.Model, levels: Mapping[str, keras.KerasTensor], num_classes: int
) -> keras.Model:
    """Builds the network; its logits have stride 4: (B, H / 4, W / 4, K).

    The classifier stands before the enlarging to the image's size, not behind it as KerasHub's:
    both are linear and their order does not matter, but K channels are enlarged instead of 256.
    """
    if not hasattr(backbone, "pyramid_outputs"):
        backbone.pyramid_outputs = dict(levels)
    decoder = keras_hub.models.DeepLabV3Backbone(
        image_encoder=backbone,
        low_level_feature_key="P2",
        spatial_pyramid_pooling_key="P5",
        upsampling_size=_UPSAMPLING,
        dilation_rates=_RATES,
        projection_filters=_LOW_LEVEL_CHANNELS,
    )
    features = decoder.get_layer("segmentation_head_relu").output  # [B, H / 4, W / 4, 256]
    logits = layers.Conv2D(num_classes, 1, name="classifier")(features)
    return keras.Model(decoder.input, logits)
