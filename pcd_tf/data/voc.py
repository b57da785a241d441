"""`--dataset=voc`: the layout of PASCAL VOC, with an XML file or a class map an image."""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np

from pcd_tf import files, outside
from pcd_tf.data import _headers
from pcd_tf.data._annotated import Annotated, Annotation
from pcd_tf.data._files import FileSource, directory
from pcd_tf.data._segmented import MapFiles, Segmented
from pcd_tf.errors import UserError

# Everingham et al., "The PASCAL Visual Object Classes Challenge", 2010, in VOC's own order.
VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)
EXTENSIONS = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG")
SIDES = ("xmin", "ymin", "xmax", "ymax")
LARGEST = 1e9  # pixels; far out of any image, and safe to compute with


def build_annotated(
    *, data_dir: str | os.PathLike[str] | None = None, split: str, **_: object
) -> Annotated:
    """Opens JPEGImages, Annotations and ImageSets/Main, as PASCAL VOC has them.

    The classes are VOC's twenty where no annotation has another, and all names in Annotations,
    sorted, where one has: the same for every split. Difficult objects count as COCO's crowds:
    not learned from, and neither right nor wrong to find. VOC counts pixels from 1 and its boxes
    include their last one, so 1 is taken from xmin and ymin. An object whose xmax is not beyond its
    xmin, or ymax not beyond ymin, has no area: it is not learned from, and never found.

    Source: Everingham et al., VOC2012 Development Kit, section 3.5 "Annotation".

    Args:
        data_dir: the directory that holds the three folders, such as VOCdevkit/VOC2012.
        split: the name of a list of images in ImageSets/Main: "train", "val", "trainval", "test".

    Raises:
        UserError: when a list, an annotation or an image is missing; when the list is empty, or an
            annotation is wrong.
    """
    root, names = _listed(data_dir, "Main", split)
    images = _found(root / "JPEGImages", names, EXTENSIONS)
    written = _found(root / "Annotations", names, (".xml",))
    trees = {file: _tree(file) for file in sorted((root / "Annotations").glob("[!.]*.xml"))}
    classes = _classes(trees)
    label = {name: index for index, name in enumerate(classes)}
    return Annotated(
        FileSource(f"{root} {split}", root / "JPEGImages", [image.name for image in images]),
        [
            _annotation(number, image, file, trees[file], label)
            for number, (image, file) in enumerate(zip(images, written, strict=True), start=1)
        ],
        class_names=classes,
    )


def build_segmented(
    *, data_dir: str | os.PathLike[str] | None = None, split: str, **_: object
) -> Segmented:
    """Opens JPEGImages, SegmentationClass and ImageSets/Segmentation, as PASCAL VOC has them.

    Raises:
        UserError: when there is no list of that split; names those that there are; when an image or
            a map of the list is missing.
    """
    root, stems = _listed(data_dir, "Segmentation", split)
    name = f"{root} {split}"
    return Segmented(
        FileSource(name, root / "JPEGImages", [f"{stem}.jpg" for stem in stems]),
        MapFiles(name, root / "SegmentationClass", [f"{stem}.png" for stem in stems]),
        ["background", *VOC_CLASSES],
    )


def _listed(
    data_dir: str | os.PathLike[str] | None, folder: str, split: str
) -> tuple[Path, list[str]]:
    """Reads the list of a split in a folder of ImageSets: the directory, and the images' names."""
    root = directory(data_dir, "with JPEGImages")
    lists = root / "ImageSets" / folder
    file = lists / f"{split}.txt"
    if not files.is_file(file):
        known = ", ".join(sorted(path.stem for path in lists.glob("*.txt"))) or "none"
        raise UserError(
            f"Expected the list of the images of split {split!r} in {file}. Received: no such file;"
            f" there are {known}. Is {root} the directory with ImageSets in it?"
        )
    lines = [line.split() for line in files.read_lines(file)]
    names = [os.fspath(outside.relative(line[0], file)) for line in lines if line]
    if not names:
        raise UserError(f"Expected images in {file}. Received: none.")
    return root, names


def _found(folder: Path, names: Sequence[str], extensions: Sequence[str]) -> list[Path]:
    """Finds the file of each name."""
    there = {path.name for path in folder.glob("[!.]*")}  # macOS leaves hidden ones beside them
    found = {
        name: next((name + end for end in extensions if name + end in there), None)
        for name in names
    }
    missing = [name for name, file in found.items() if file is None]
    if missing:
        raise UserError(
            f"Expected a file ({' '.join(extensions)}) of each of {len(names)} images in {folder}. "
            f"Received: none of {len(missing)}: {outside.named(missing)}. Take them out of the "
            "list, or add them."
        )
    return [folder / file for file in found.values() if file is not None]


def _classes(trees: Mapping[Path, ET.Element]) -> list[str]:
    names = {
        _name(element, file) for file, root in trees.items() for element in root.iterfind("object")
    }
    return list(VOC_CLASSES) if names <= set(VOC_CLASSES) else sorted(names)


def _name(element: ET.Element, file: Path) -> str:
    name = outside.plain(element.findtext("name") or "")
    if not name:
        raise UserError(f"Expected a name of each object in {file}. Received: one without.")
    return name


def _tree(file: Path) -> ET.Element:
    content = files.read_bytes(file)
    try:
        return ET.fromstring(content)
    except (ET.ParseError, LookupError, ValueError) as error:  # or an encoding it does not know
        raise UserError(
            f"Expected XML in {file}. Received: {error}. Write it anew, in UTF-8."
        ) from error


def _annotation(
    image_id: int, image: Path, file: Path, root: ET.Element, label: Mapping[str, int]
) -> Annotation:
    found = root.findall("object")
    boxes = [_box(element, file) for element in found]
    return Annotation(
        image_id,
        *_size(root, image),
        np.array(boxes, np.float64).reshape(-1, 4),  # (n, 4), for n = 0 as well
        np.array([label[_name(element, file)] for element in found], np.int64),
        np.array([_number(element.findtext("difficult")) == 1 for element in found], np.bool_),
    )


def _size(root: ET.Element, image: Path) -> tuple[int, int]:
    """Reads the height and width, in pixels; some files give 0, and only the image knows."""
    height, width = (_number(root.findtext(f"size/{side}")) for side in ("height", "width"))
    if height >= 1 and width >= 1:
        return int(height), int(width)
    return _headers.size_of(image)


def _box(element: ET.Element, file: Path) -> tuple[float, float, float, float]:
    texts = [element.findtext(f"bndbox/{side}") for side in SIDES]
    x1, y1, x2, y2 = map(_number, texts)
    if not all(map(math.isfinite, (x1, y1, x2, y2))):
        raise UserError(
            f"Cannot use an object {_name(element, file)!r} of {file}. Expected a bndbox of four "
            f"finite numbers, {', '.join(SIDES)}. Received: {outside.named(texts)}."
        )
    if x2 <= x1 or y2 <= y1:
        return x1, y1, x1, y1  # no area
    return x1 - 1, y1 - 1, x2, y2


def _number(text: str | None) -> float:
    """Reads a number; NaN where there is none."""
    try:
        number = float(text or "nan")
    except ValueError:
        return math.nan
    return number if abs(number) <= LARGEST else math.nan
