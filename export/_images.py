"""Real images: those that the student was distilled on, and a photograph that is always there."""

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from pcd_tf import data
from pcd_tf.errors import UserError

NUM_OF_RUN = 3  # images of the run in a batch to check with

Pixels = npt.NDArray[np.uint8]


@dataclasses.dataclass(frozen=True)
class Images:
    """Images to check an export with, the same ones each time, and to calibrate it with.

    Args:
        source: where images of the run come from; None when they are gone.
        where: what to call them, or why they are gone.
    """

    source: data.Source | None
    where: str

    @classmethod
    def of(cls, settings: Mapping[str, Any], data_dir: str | None = None) -> "Images":
        """Opens the images of a run, or those in `data_dir`.

        A TensorFlow dataset that is not prepared counts as gone: an export downloads nothing.

        Raises:
            UserError: when `data_dir` is given and holds no image; when `data_dir` does not exist.
        """
        if data_dir is not None:
            source = data.build("folder", data_dir=data_dir)
            return cls(source, source.name)
        if "dataset" not in settings:
            return cls(None, "the run does not say where they came from")
        try:
            source = data.build(
                settings["dataset"],
                data_dir=settings.get("data_dir"),
                tfds_name=settings.get("tfds_name"),
                seed=settings.get("seed", 0),
                download=False,
            )
            source.check(1)
        except (OSError, ValueError, RuntimeError) as error:
            return cls(None, str(error))
        return cls(source, source.name)

    def __str__(self) -> str:
        if self.source is None:
            return f"a photograph and its mirror image (the run's own are not there: {self.where})"
        count = len(self.source.examples_to_show(NUM_OF_RUN))
        return f"{count} of {self.where}, and a photograph"

    def batch(self, height: int, width: int) -> Pixels:
        """Gives the images to check with.

        They are those of the run that `Source.examples_to_show` chooses, then a photograph; without
        the run's, the photograph and its mirror image.

        Returns:
            uint8 (n, H, W, 3), n up to 4: the middle of each image that has these proportions.
        """
        photograph = _photograph()
        if self.source is None:
            return _stack([photograph, ImageOps.mirror(photograph)], height, width)
        return _stack([*self._of_run(NUM_OF_RUN), photograph], height, width)

    def representative(self, count: int, height: int, width: int) -> Pixels:
        """Gives images to calibrate with: at most `count` of the run.

        They are spread evenly over a folder, and the first ones of a TensorFlow dataset, which may
        be stored sorted.

        Returns:
            uint8 (n, H, W, 3).

        Raises:
            UserError: when the run's images are gone: one photograph represents nothing.
        """
        if self.source is None:
            raise UserError(
                f"Expected images of the run to calibrate int8 with. Received: none: {self.where}. "
                "Give --data_dir, a folder of images like those that the student will see."
            )
        return _stack(self._of_run(count), height, width)

    def _of_run(self, count: int) -> Iterable[Image.Image]:
        if self.source is None:
            return
        records = self.source.chosen(self.source.examples_to_show(count))
        for record in records.as_numpy_iterator():
            yield self.source.read(int(record["index"]), record.get("payload"))[1]


def _photograph() -> Image.Image:
    """The portrait of Grace Hopper (public domain, US Navy) that matplotlib comes with."""
    from matplotlib import cbook

    return data.decode(Path(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)))


def _stack(images: Iterable[Image.Image], height: int, width: int) -> Pixels:
    bilinear = Image.Resampling.BILINEAR
    return np.stack([np.asarray(ImageOps.fit(one, (width, height), bilinear)) for one in images])
