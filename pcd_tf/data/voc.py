"""`--dataset=voc`: PASCAL VOC's layout, JPEGImages, SegmentationClass, ImageSets/Segmentation."""

from pathlib import Path

from pcd_tf import files, outside
from pcd_tf.data._files import FileSource
from pcd_tf.data._segmented import MapFiles, Segmented
from pcd_tf.errors import UserError

# Everingham et al., "The PASCAL Visual Object Classes Challenge", 2012, in the order of its ids.
CLASS_NAMES = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)


def build_segmented(*, data_dir: str | None, split: str, **_: object) -> Segmented:
    """Opens a split of a directory such as VOCdevkit/VOC2012.

    Raises:
        UserError: when there is no list of that split; names those that there are; when an image or
            a map of the list is missing.
    """
    if data_dir is None:
        raise UserError("Expected data_dir, a directory of VOC's layout. Received: None.")
    root = Path(data_dir).expanduser()
    lists = root / "ImageSets" / "Segmentation"
    file = lists / f"{split}.txt"
    if not files.is_file(file):
        there = ", ".join(sorted(path.stem for path in lists.glob("*.txt"))) or "none"
        raise UserError(
            f"Expected the list of the split, {file}. Received: no such file. "
            f"Splits there: {there}."
        )
    stems = [
        outside.relative(stem, file) for line in files.read_lines(file) for stem in line.split()
    ]
    name = f"{root} {split}"
    return Segmented(
        FileSource(name, root / "JPEGImages", [f"{stem}.jpg" for stem in stems]),
        MapFiles(name, root / "SegmentationClass", [f"{stem}.png" for stem in stems]),
        CLASS_NAMES,
    )
