"""Annotated images in the layout of PASCAL VOC: an XML file an image."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
from PIL import Image

from pcd_tf.annotated._listed import Listed, ListedSource
from pcd_tf.errors import UserError

NUM_NAMED = 3  # missing files named in an error

# Everingham et al., "The PASCAL Visual Object Classes Challenge", 2010, in VOC's own order.
VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)
EXTENSIONS = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG")
SIDES = ("xmin", "ymin", "xmax", "ymax")


def build(*, data_dir: str | None = None, split: str, **_: object) -> "VocSource":
    """Opens the part `split` of the directory `data_dir`."""
    if data_dir is None:
        raise UserError("Expected data_dir, the directory with JPEGImages. Received: None.")
    return VocSource(data_dir, split=split)


class VocSource(ListedSource):
    """JPEGImages, Annotations and ImageSets/Main, as PASCAL VOC has them.

    The classes are VOC's twenty where no annotation has another, and all names in Annotations,
    sorted, where one has: the same for every split. Difficult objects count as COCO's crowds:
    not learned from, and neither right nor wrong to find. VOC counts pixels from 1 and its boxes
    include their last one, so 1 is taken from xmin and ymin. An object whose xmax is not beyond its
    xmin, or ymax not beyond ymin, has no area and is left out.

    Source: Everingham et al., VOC2012 Development Kit, section 3.5 "Annotation".

    Args:
        data_dir: the directory that holds the three folders, such as VOCdevkit/VOC2012.
        split: the name of a list of images in ImageSets/Main: "train", "val", "trainval", "test".

    Raises:
        UserError: when a list, an annotation or an image is missing; when the list is empty, or an
            annotation is wrong.

    Example:
        source = VocSource("~/VOCdevkit/VOC2012", split="trainval")
    """

    def __init__(self, data_dir: str | os.PathLike[str], *, split: str) -> None:
        root = Path(data_dir).expanduser()
        names = _names(root, split)
        images = _found(root / "JPEGImages", names, EXTENSIONS)
        files = _found(root / "Annotations", names, (".xml",))
        classes = _classes(root / "Annotations")
        label = {name: index for index, name in enumerate(classes)}
        pairs = enumerate(zip(images, files, strict=True))
        listed = [_listed(index + 1, image, file, label) for index, (image, file) in pairs]
        super().__init__(f"{root} {split}", listed, class_names=classes)


def _names(root: Path, split: str) -> list[str]:
    folder = root / "ImageSets" / "Main"
    file = folder / f"{split}.txt"
    if not file.is_file():
        known = ", ".join(sorted(path.stem for path in folder.glob("*.txt"))) or "none"
        raise UserError(
            f"Expected the list of the images of split {split!r} in {file}. Received: no such file;"
            f" there are {known}. Is {root} the directory with ImageSets in it?"
        )
    names = [line.split()[0] for line in file.read_text().splitlines() if line.strip()]
    if not names:
        raise UserError(f"Expected images in {file}. Received: none.")
    return names


def _found(folder: Path, names: Sequence[str], extensions: Sequence[str]) -> list[Path]:
    """Finds the file of each name."""
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    found = {
        name: next((name + end for end in extensions if name + end in there), None)
        for name in names
    }
    missing = [name for name, file in found.items() if file is None]
    if missing:
        named = ", ".join(missing[:NUM_NAMED]) + (", ..." if len(missing) > NUM_NAMED else "")
        raise UserError(
            f"Expected a file ({' '.join(extensions)}) of each of {len(names)} images in {folder}. "
            f"Received: none of {len(missing)}: {named}. Take them out of the list, or add them."
        )
    return [folder / file for file in found.values() if file is not None]


def _classes(folder: Path) -> list[str]:
    names = {
        (name.text or "").strip()
        for file in folder.glob("*.xml")
        for name in _root(file).iterfind("object/name")
    }
    return list(VOC_CLASSES) if names <= set(VOC_CLASSES) else sorted(names)


def _root(file: Path) -> ET.Element:
    try:
        return ET.parse(file).getroot()
    except ET.ParseError as error:
        raise UserError(f"Expected XML in {file}. Received: {error}.") from error


def _listed(image_id: int, image: Path, file: Path, label: dict[str, int]) -> Listed:
    root = _root(file)
    found = root.findall("object")
    height, width = _size(root, image)
    names = [(element.findtext("name") or "").strip() for element in found]
    boxes = [_box(element, file) for element in found]
    return Listed(
        image_id=image_id,
        name=image.name,
        path=image,
        height=height,
        width=width,
        boxes=np.array(boxes, np.float64).reshape(-1, 4),  # (n, 4), for n = 0 as well
        labels=np.array([label[name] for name in names], np.int64),
        crowd=np.array([_is_difficult(element) for element in found], np.bool_),
    )


def _size(root: ET.Element, image: Path) -> tuple[int, int]:
    """Reads the height and width, in pixels; some files give 0, and only the image knows."""
    sides = [root.findtext(f"size/{side}") or "0" for side in ("height", "width")]
    if all(side.strip().isdigit() and int(side) > 0 for side in sides):
        return int(sides[0]), int(sides[1])
    with Image.open(image) as opened:
        return opened.height, opened.width


def _is_difficult(element: ET.Element) -> bool:
    return (element.findtext("difficult") or "0").strip() == "1"


def _box(element: ET.Element, file: Path) -> tuple[float, float, float, float]:
    texts = [element.findtext(f"bndbox/{side}") for side in SIDES]
    try:
        x1, y1, x2, y2 = (float(text or "nan") for text in texts)
    except ValueError:
        x1 = y1 = x2 = y2 = math.nan
    if not all(map(math.isfinite, (x1, y1, x2, y2))):
        name = element.findtext("name")
        raise UserError(
            f"Cannot use an object {name!r} of {file}. Expected a bndbox of four finite numbers, "
            f"{', '.join(SIDES)}. Received: {', '.join(map(str, texts))}."
        )
    if x2 <= x1 or y2 <= y1:
        return x1, y1, x1, y1  # no area
    return x1 - 1, y1 - 1, x2, y2
