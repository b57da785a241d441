"""The trainable models: keras.Model subclasses with a train_step of their own."""

from pcd_tf.models.distiller import Distiller
from pcd_tf.models.moco_v3 import MoCoV3

__all__ = ["Distiller", "MoCoV3"]
