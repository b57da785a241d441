"""The settings of every job that reads images."""

import dataclasses
from collections.abc import Iterator

from pcd_tf import data
from pcd_tf.settings import Conflict, Settings, setting

_NEEDS = {"folder": "data_dir", "tfds": "tfds_name", "tfrecord": "data_dir"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImagesConfig(Settings):
    """Where the images of a job come from."""

    dataset: str = setting(
        "synthetic",
        help="Where the images come from. folder: files under --data_dir, in any tree; tfds: "
        "TensorFlow Datasets; tfrecord: what prepare wrote in --data_dir; synthetic: made on the "
        "fly, no files and no download.",
        group="data",
        source="[ours]",
        choices=data.names(),
    )
    data_dir: str | None = setting(
        None,
        help="The folder of images, or several between commas; with tfds, where TensorFlow "
        "Datasets keeps its files.",
        group="data",
        source="[ours]",
        unit="list of directories",
        when_none="none; with tfds, its own directory",
    )
    tfds_name: str | None = setting(
        None,
        help="Name in TensorFlow Datasets: name, name/config or name:version; it must have an "
        "image feature.",
        group="data",
        source="[ours]",
        when_none="none",
    )
    max_pixels: int = setting(
        data.MAX_PIXELS,
        help="Most pixels of an image. Larger ones are unreadable: a small file can hold a picture "
        "that fills the memory. The default is Pillow's limit, which takes 2 GiB.",
        group="data",
        source="[ours]",
        unit="pixels",
        minimum=1,
        maximum=2**32,
        maximum_reason="4294967296 pixels take 48 GiB while they are converted.",
    )

    def conflicts(self) -> Iterator[Conflict]:
        yield from super().conflicts()
        needed = _NEEDS.get(self.dataset)
        if needed and getattr(self, needed) is None:
            yield (needed, "dataset"), f"dataset={self.dataset} needs it."
        if self.tfds_name is not None and self.dataset != "tfds":
            names = ("tfds_name", "dataset")
            yield names, f"dataset={self.dataset} has no use for it. Set dataset to tfds."
        if self.data_dir is not None and self.dataset == "synthetic":
            yield (
                ("data_dir", "dataset"),
                "dataset=synthetic reads no files. Set dataset to folder.",
            )
        if self.data_dir is not None and self.dataset in ("folder", "tfrecord"):
            missing = [path for path in data.directories(self.data_dir) if not path.is_dir()]
            for path in missing[:1]:
                yield ("data_dir",), f"expected an existing directory. Received: {str(path)!r}."
