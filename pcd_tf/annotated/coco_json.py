"""Annotated images in COCO's format: a JSON file and a folder of images."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pcd_tf.annotated._coco_file import Checked, read
from pcd_tf.annotated._listed import Listed, ListedSource
from pcd_tf.errors import UserError

NUM_NAMED = 3  # missing files named in an error


def build(
    *, data_dir: str | None = None, split: str, annotations: str | None = None, **_: object
) -> "CocoJsonSource":
    """Opens the annotations of `split`."""
    if data_dir is None:
        raise UserError("Expected data_dir, the directory of the images. Received: None.")
    return CocoJsonSource(data_dir, split=split, annotations=annotations)


class CocoJsonSource(ListedSource):
    """Images and the JSON file that annotates them, as COCO publishes them.

    Everything in the file is checked at the start, and that each image is there; images are decoded
    when they are asked for. Classes are in the order of their ids. Masks are offered when every
    object has one: polygons or run lengths, compressed or not.

    Source: cocodataset.org/#format-data, "Object Detection".

    Args:
        data_dir: the directory; the images are in data_dir/SPLIT, data_dir or data_dir/images.
        split: which part, such as "train2017".
        annotations: the JSON file; default: data_dir/instances_SPLIT.json, or the same in
            data_dir/annotations.

    Raises:
        UserError: when the JSON file or an image is missing; when the file is not COCO's format, or
            an annotation in it is wrong.

    Example:
        source = CocoJsonSource("~/coco", split="val2017")
        source.objects(0).boxes  # float32 (n, 4)
    """

    def __init__(
        self,
        data_dir: str | os.PathLike[str],
        *,
        split: str,
        annotations: str | os.PathLike[str] | None = None,
    ) -> None:
        root = Path(data_dir).expanduser()
        file = _annotation_file(root, split, annotations)
        checked = read(file)
        names = [image["file_name"] for image in checked.images]
        folder = _image_folder(root, split, names, file)
        super().__init__(
            str(file),
            [_listed(image, folder, checked) for image in checked.images],
            class_names=checked.class_names,
            category_ids=checked.category_ids,
            has_masks=checked.has_masks,
        )


def _annotation_file(root: Path, split: str, annotations: str | os.PathLike[str] | None) -> Path:
    name = f"instances_{split}.json"
    if annotations is not None:
        candidates = [Path(annotations).expanduser()]
    else:
        candidates = [root / name, root / "annotations" / name]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    places = " and ".join(map(str, candidates))
    raise UserError(
        f"Expected the annotations of {split!r} in COCO's format. Received: no file {places}. "
        "Give the JSON file as `annotations`, or the right data_dir and split."
    )


def _image_folder(root: Path, split: str, names: Sequence[str], file: Path) -> Path:
    """Finds the folder that holds every image."""
    fewest: tuple[list[str], Path] = (list(names), root)
    for folder in (root / split, root, root / "images"):
        if not folder.is_dir():
            continue
        missing = [name for name in names if not (folder / name).is_file()]
        if not missing:
            return folder
        if len(missing) < len(fewest[0]):
            fewest = (missing, folder)
    missing, folder = fewest
    where = folder if len(missing) < len(names) else f"{root / split}, {root} and {root / 'images'}"
    named = ", ".join(missing[:NUM_NAMED]) + (", ..." if len(missing) > NUM_NAMED else "")
    raise UserError(
        f"Expected the {len(names)} images of {file} in {where}. Received: {len(missing)} of them "
        f"are missing: {named}. Give the right data_dir, or take them out of the file."
    )


def _listed(image: dict[str, Any], folder: Path, checked: Checked) -> Listed:
    annotations = checked.annotations.get(image["id"], [])
    boxes = np.array([a["bbox"] for a in annotations], np.float64).reshape(-1, 4)  # (n, 4)
    boxes[:, 2:] += boxes[:, :2]  # x, y, width, height -> x1, y1, x2, y2
    has_areas = all("area" in a for a in annotations)
    return Listed(
        image_id=image["id"],
        name=image["file_name"],
        path=folder / image["file_name"],
        height=image["height"],
        width=image["width"],
        boxes=boxes,
        labels=np.array([checked.label[a["category_id"]] for a in annotations], np.int64),
        crowd=np.array([a.get("iscrowd", 0) for a in annotations], np.bool_),
        areas=np.array([a["area"] for a in annotations], np.float64) if has_areas else None,
        segmentations=[a["segmentation"] for a in annotations] if checked.has_masks else None,
    )
