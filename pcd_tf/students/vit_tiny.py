"""ViT-Ti/16: 5.5 M parameters, 192 channels, stride 16; for images with sides divisible by 16.

Its map is finer than a ResNet's (14 x 14 at 224 pixels, not 7 x 7), and it has one level, P4.
Source: Touvron et al., "Training data-efficient image transformers", 2021, arXiv 2012.12877,
table 1: 192 channels, 3 heads, 12 layers.
"""

from pcd_tf.backbones.vit import VisionTransformer


def build() -> VisionTransformer:
    """Builds a randomly initialised ViT-Ti/16, pyramid P4."""
    return VisionTransformer(
        patch_size=16, num_layers=12, num_heads=3, hidden_dim=192, mlp_dim=768, name="vit_tiny"
    )
