"""The settings of every job that takes in a teacher from elsewhere."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from pcd_tf.settings import Conflict, Settings, setting

# Whatever a model was trained with: images of 0..255 come out below a million, and in float32.
_RANGES = {"teacher_mean": (-1000, 1000), "teacher_std": (0.001, 1000)}
_SETTINGS = ("teacher_map", "teacher_head", "teacher_mean", "teacher_std")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TeacherConfig(Settings):
    """What a teacher of the user's own needs to be told, beside its file.

    The Config that inherits it has a setting `teacher`.

    Example:
        Config(teacher="custom", teacher_head="projector", teacher_mean="0,0,0", ...)
    """

    teacher_map: str | None = setting(
        None,
        help="With --teacher=custom: the layer of a .keras file, or the output of a SavedModel, "
        "that is the feature map.",
        group="model",
        source="[ours]",
        when_none="the model's output, or the map whose mean goes into --teacher_head",
    )
    teacher_head: str | None = setting(
        None,
        help="With --teacher=custom and a .keras file: the vector head behind the mean over the "
        "map, a nested model or the first layer of a chain up to the model's output.",
        group="model",
        source="[ours]",
        when_none="no head: the map is the embedding",
    )
    teacher_mean: str | None = setting(
        None,
        help="With --teacher=custom: mean of red, green and blue, of images in 0..255, that the "
        "model wants them normalised with; 0,0,0 when it does that itself.",
        group="model",
        source="[ours]",
        when_none="ImageNet's; 0,0,0 for a SavedModel that takes integers",
    )
    teacher_std: str | None = setting(
        None,
        help="With --teacher=custom: the standard deviation, likewise; 1,1,1 when the model "
        "normalises by itself.",
        group="model",
        source="[ours]",
        when_none="ImageNet's; 1,1,1 for a SavedModel that takes integers",
    )

    @property
    def teacher_options(self) -> dict[str, Any]:
        """What `teachers.convert` is told besides name and file; nothing where none is given."""
        if not self.teacher_settings:
            return {}
        return {
            "feature_map": self.teacher_map,
            "head": self.teacher_head,
            "mean": _numbers(self.teacher_mean),
            "std": _numbers(self.teacher_std),
        }

    @property
    def teacher_settings(self) -> list[str]:
        """Names of the settings of a user's own teacher that are given."""
        return [name for name in _SETTINGS if getattr(self, name) is not None]

    def conflicts(self) -> Iterator[Conflict]:
        yield from super().conflicts()
        teacher = getattr(self, "teacher", None)
        for name in self.teacher_settings:
            if teacher != "custom":
                text = f"only a teacher of your own needs it. Received: teacher={teacher or ''}. "
                yield (name, "teacher"), f"{text}Set teacher to custom, or leave this out."
        for name, (low, high) in _RANGES.items():
            given = getattr(self, name)
            if given is not None and not _are_three_within(low, high, given):
                what = f"three numbers of {low:g} to {high:g} with commas"
                yield (name,), f"expected {what}, such as 1,1,1. Received: {given!r}."


def _numbers(text: str | None) -> tuple[float, ...] | None:
    return None if text is None else tuple(float(part) for part in text.split(","))


def _are_three_within(low: float, high: float, text: str) -> bool:
    try:
        found = _numbers(text) or ()
    except ValueError:
        return False
    return len(found) == 3 and all(low <= number <= high for number in found)
