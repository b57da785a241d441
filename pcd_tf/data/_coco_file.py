"""Reads a JSON file in COCO's format and checks everything in it."""

import collections
import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta

from pcd_tf import files, outside
from pcd_tf.data import _annotated, _box_format
from pcd_tf.data._segmentation import Coordinate
from pcd_tf.errors import UserError

logger = logging.getLogger(__name__)

_Id = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]  # as NumPy holds them
_Side = Annotated[int, Meta(ge=1, le=65535)]  # pixels; JPEG's largest (ITU-T T.81, annex B.2.2)
_NUM_BEFORE, _NUM_AFTER = 40, 8  # bytes shown around what is no JSON


class _Image(msgspec.Struct, gc=False):
    """An image; its sides in pixels."""

    id: _Id
    file_name: str
    height: _Side
    width: _Side


class _Category(msgspec.Struct):
    id: _Id
    name: str | int | None = None
    supercategory: str | int | None = None

    @property
    def title(self) -> str:
        return outside.plain("" if self.name is None else str(self.name)) or str(self.id)


class _Annotation(msgspec.Struct, gc=False):
    image_id: _Id
    category_id: _Id
    bbox: tuple[Coordinate, Coordinate, Coordinate, Coordinate]
    area: float | None = None
    iscrowd: Annotated[int, Meta(ge=0, le=1)] | bool | None = None
    segmentation: msgspec.Raw = msgspec.Raw(b"null")  # most of the file; decoded when asked for


class _File(msgspec.Struct):
    images: Annotated[list[_Image], Meta(min_length=1)]
    annotations: list[_Annotation]
    categories: Annotated[list[_Category], Meta(min_length=1)]


class Content(NamedTuple):
    """What a file holds: of each image, and of each class."""

    file_names: list[str]
    annotations: list[_annotated.Annotation]
    class_names: list[str]
    category_ids: list[int]


def read(file: Path, class_names: Sequence[str] = ()) -> Content:
    """Reads and checks a file.

    Args:
        file: JSON.
        class_names: asked for, in this order; those that are not among them come last.

    Raises:
        UserError: when it is not COCO's format, or anything in it is wrong; the message names it.
    """
    content = _parsed(file)
    images, annotations = content.images, content.annotations
    _unique((image.id for image in images), "image ids", file)
    image_of = _places(annotations, "image_id", [image.id for image in images], file)
    categories = _categories(content, class_names, file)
    label_of = _places(annotations, "category_id", [c.id for c in categories], file)
    boxes = np.array([a.bbox for a in annotations], np.float64).reshape(-1, 4)  # n = 0: (0, 4)
    areas = np.array([a.area for a in annotations], np.float64)  # None -> NaN
    crowd = np.array([bool(a.iscrowd) for a in annotations], np.bool_)
    sizes = np.array([(image.width, image.height) for image in images])[image_of]
    segmentations = [annotation.segmentation for annotation in annotations]
    _box_format.check(boxes, sizes, areas, segmentations, file)
    boxes[:, 2:] += boxes[:, :2]  # x, y, width, height -> x1, y1, x2, y2
    order = np.argsort(image_of, kind="stable")
    rows_of = np.split(order, np.searchsorted(image_of[order], np.arange(1, len(images))))
    return Content(
        file_names=[image.file_name for image in images],
        annotations=[
            _annotated.Annotation(
                image.id,
                image.height,
                image.width,
                boxes[rows],
                label_of[rows],
                crowd[rows],
                areas[rows] if np.isfinite(areas[rows]).all() else None,
                [segmentations[row] for row in rows],
            )
            for image, rows in zip(images, rows_of, strict=True)
        ],
        class_names=[category.title for category in categories],
        category_ids=[category.id for category in categories],
    )


def _parsed(file: Path) -> _File:
    content = files.read_bytes(file).removeprefix(b"\xef\xbb\xbf")  # a byte-order mark
    try:
        return msgspec.json.decode(content, type=_File, strict=False)  # "7" and 7.0 are 7
    except msgspec.ValidationError as error:
        raise UserError(
            f"Cannot use {file} as COCO's annotations. {outside.fault(error).lstrip('.: ')}."
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(
            f"Expected JSON in {file}. Received: {error}{_around(content, str(error))}."
        ) from error


def _around(content: bytes, error: str) -> str:
    """Shows the text that an error of msgspec speaks of, such as NaN, which is no JSON."""
    place = re.search(r"\(byte (\d+)\)", error)
    if not place:
        return ""
    end = int(place[1])
    text = content[max(0, end - _NUM_BEFORE) : end + _NUM_AFTER].decode("utf-8", "replace")
    return f", at '{outside.plain(text)}'"


def _places(
    annotations: Sequence[_Annotation], field: str, ids: Sequence[int], file: Path
) -> np.ndarray:
    """Finds the place of the id that a field of each annotation holds, int64 (n,)."""
    place_of = {id_: place for place, id_ in enumerate(ids)}
    places = np.array([place_of.get(getattr(a, field), -1) for a in annotations], np.int64)
    for wrong in np.flatnonzero(places < 0)[:1]:
        raise UserError(
            f"Cannot use {file}. annotations[{wrong}].{field}: expected one of {len(ids)} ids, "
            f"{outside.named(ids)}, received {getattr(annotations[wrong], field)}."
        )
    return places


def _categories(content: _File, class_names: Sequence[str], file: Path) -> list[_Category]:
    """Sorts the categories, without those that only stand above others, as Roboflow writes them.

    One that is asked for stays, unless another has the same name: splits must agree.
    """
    _unique((category.id for category in content.categories), "category ids", file)
    used = {annotation.category_id for annotation in content.annotations}
    below: dict[object, set[int]] = collections.defaultdict(set)
    for category in content.categories:
        below[category.supercategory].add(category.id)
    number = collections.Counter(category.title for category in content.categories)
    asked = {title for title in class_names if number[title] == 1}
    kept = [
        c
        for c in content.categories
        if c.id in used or c.title in asked or c.name is None or not below[c.name] - {c.id}
    ]
    if len(kept) < len(content.categories):
        left_out = [category.title for category in content.categories if category not in kept]
        logger.warning(
            "%s: no class of %s, which no object has, and which stands above other classes.",
            file,
            outside.named(left_out),
        )
    _unique((category.title for category in kept), "category names", file)
    order = {name: place for place, name in enumerate(class_names)}
    return sorted(kept, key=lambda c: (order.get(c.title, len(order)), c.id))


def _unique(values: Iterable[object], what: str, file: Path) -> None:
    twice = [value for value, count in collections.Counter(values).items() if count > 1]
    if twice:
        raise UserError(
            f"Expected {what} that occur once in {file}. Received more than once: "
            f"{outside.named(twice)}."
        )
