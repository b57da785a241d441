"""The project's Keras layers."""

from pcd_tf.layers.mhsa import MHSA
from pcd_tf.layers.photometric import Photometric
from pcd_tf.layers.projection_head import ProjectionHead
from pcd_tf.layers.spatial_adaptor import SpatialAdaptor

__all__ = ["MHSA", "Photometric", "ProjectionHead", "SpatialAdaptor"]
