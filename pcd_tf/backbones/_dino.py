"""What the two DINO families of KerasHub have in common: settings and the copy of weights."""

from typing import Any

import keras
import keras_hub

# Settings of a KerasHub backbone that describe no network: it is built for any size and policy, and
# has no regularisation of the training, no masked tokens, and one output.
_NOT_OF_THE_NETWORK = (
    "name",
    "trainable",
    "dtype",
    "image_shape",
    "dropout_rate",
    "attention_dropout",
    "drop_path_rate",
    "use_mask_token",
    "apply_layernorm",
)


def settings(backbone: keras_hub.models.Backbone) -> dict[str, Any]:
    """Lists the settings of a KerasHub backbone that describe its network."""
    config = backbone.get_config()
    return {name: value for name, value in config.items() if name not in _NOT_OF_THE_NETWORK}


def copy(backbone: keras_hub.models.Backbone, made: keras.Model) -> None:
    """Copies the weights of a KerasHub backbone, without positions and the token of masks."""
    tokens, embeddings = made.get_layer("tokens"), backbone.embeddings
    tokens.class_token.assign(embeddings.cls_token)
    if tokens.num_register_tokens:
        tokens.registers.assign(embeddings.register_tokens)
    for source, target in (
        (embeddings.patch_embeddings.projection, tokens.patches),
        (backbone.encoder, made.get_layer("encoder")),
        (backbone.layernorm, made.get_layer("layernorm")),
    ):
        for one, other in zip(source.weights, target.weights, strict=True):
            other.assign(one)
