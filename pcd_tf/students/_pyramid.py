"""The feature pyramid of a student."""

import keras


def pyramid(backbone: keras.Model) -> dict[str, keras.KerasTensor]:
    """Finds the maps of a backbone by level: see `pcd_tf.students.pyramid`."""
    return dict(getattr(backbone, "pyramid_outputs", {}))
