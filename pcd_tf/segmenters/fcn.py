"""`--model=fcn`: a classifier at strides 8, 16 and 32, added up.

Source: Long, Shelhamer and Darrell, "Fully Convolutional Networks for Semantic Segmentation",
2015, arXiv 1411.4038: the FCN-8s of figure 3. Ours has bilinear enlarging that is not learnt, one
hidden convolution with BatchNorm, and no dropout.
"""

from collections.abc import Mapping

import keras
from keras import layers

_COARSE_TO_FINE = ("P5", "P4", "P3")
_HIDDEN = 256  # channels before the classifier: [ours], a quarter to a half of a backbone's


def network(
    backbone: keras.Model, levels: Mapping[str, keras.KerasTensor], num_classes: int
) -> keras.Model:
    """Builds the network; its logits have stride 8: (B, H / 8, W / 8, K)."""
    scores = None
    for level in _COARSE_TO_FINE:
        x = levels[level]
        if level == "P5":
            x = layers.Conv2D(_HIDDEN, 3, padding="same", use_bias=False, name="fcn_conv")(x)
            x = layers.BatchNormalization(name="fcn_norm")(x)
            x = layers.ReLU(name="fcn_relu")(x)
        x = layers.Conv2D(num_classes, 1, name=f"fcn_score_{level.lower()}")(x)
        if scores is not None:
            finer = layers.UpSampling2D(2, interpolation="bilinear")(scores)
            x = layers.Add(name=f"fcn_sum_{level.lower()}")([x, finer])
        scores = x
    return keras.Model(backbone.input, scores)
