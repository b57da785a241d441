"""Students: the backbones that a teacher's knowledge is distilled into, one file each."""

from typing import TYPE_CHECKING

from pcd_tf import plugins

if TYPE_CHECKING:
    import keras_hub


def names() -> tuple[str, ...]:
    """Lists the students: the choices of `--student`."""
    return plugins.names(__name__)


def build(name: str) -> "keras_hub.models.FeaturePyramidBackbone":
    """Builds a randomly initialised student: a KerasHub backbone with a feature pyramid.

    Args:
        name: one of `names()`.

    Returns:
        A backbone: normalised images (B, H, W, 3) of any size -> float (B, h, w, C), its BatchNorm
        synchronised over replicas, its `pyramid_outputs` a dict with the last map and finer ones.

    Raises:
        ValueError: when there is no such student; names the choices and the nearest.

    Example:
        build("resnet18")(images).shape  # (B, h, w, 512)
    """
    student: keras_hub.models.FeaturePyramidBackbone = plugins.load(__name__, name).build()
    return student
