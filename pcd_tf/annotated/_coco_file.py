"""Reads a JSON file in COCO's format and checks everything in it."""

import collections
import dataclasses
import functools
import json
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pcd_tf.annotated._segmentation import fault, is_given
from pcd_tf.errors import UserError

NUM_NAMED = 3  # ids named in an error


@dataclasses.dataclass(frozen=True)
class Checked:
    """What the file holds.

    Args:
        images: each with "id", "file_name", "height" and "width".
        annotations: those of each image, by its id.
        class_names: in the order of the categories' ids.
        category_ids: as many.
        has_masks: whether every object has a mask.
    """

    images: Sequence[dict[str, Any]]
    annotations: Mapping[Any, list[dict[str, Any]]]
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    has_masks: bool

    @functools.cached_property
    def label(self) -> dict[int, int]:
        """The index of each category id."""
        return {category_id: index for index, category_id in enumerate(self.category_ids)}


def read(file: Path) -> Checked:
    """Reads and checks a file.

    Raises:
        UserError: when it is not COCO's format, or anything in it is wrong; the message names it.
    """
    content = _content(file)
    images = _images(content["images"], file)
    categories = _categories(content["categories"], file)
    sizes = {image["id"]: (image["height"], image["width"]) for image in images}
    annotations: dict[Any, list[dict[str, Any]]] = collections.defaultdict(list)
    for place, annotation in enumerate(content["annotations"]):
        wrong = _wrong(annotation, sizes, categories)
        if wrong:
            name = annotation.get("id") if isinstance(annotation, dict) else None
            name = f"annotation id {name}" if name is not None else f"annotation number {place}"
            raise UserError(f"Cannot use {name} of {file}. {wrong}")
        annotations[annotation["image_id"]].append(annotation)
    _unique((a["id"] for a in content["annotations"] if "id" in a), "annotation ids", file)
    has_masks = bool(content["annotations"]) and all(
        is_given(annotation.get("segmentation")) for annotation in content["annotations"]
    )
    return Checked(images, annotations, tuple(categories.values()), tuple(categories), has_masks)


def _content(file: Path) -> dict[str, list[Any]]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:  # not UTF-8, or not JSON
        raise UserError(f"Expected JSON in {file}. Received: {error}.") from error
    wanted = ("images", "annotations", "categories")
    given = content if isinstance(content, dict) else {}
    missing = [name for name in wanted if not isinstance(given.get(name), list)]
    if missing:
        found = ", ".join(map(str, given)) or type(content).__name__
        raise UserError(
            f"Expected COCO's format, with lists {', '.join(wanted)}, in {file}. "
            f"Received: {found}; without {', '.join(missing)}."
        )
    return given


def _images(images: list[Any], file: Path) -> list[dict[str, Any]]:
    if not images:
        raise UserError(f"Expected images in {file}. Received: none.")
    for place, image in enumerate(images):
        if not isinstance(image, dict) or not _is_image(image):
            raise UserError(
                f"Expected an id, a file_name, and a height and width in pixels of each image in "
                f"{file}. Received, as number {place}: {image}."
            )
    _unique((image["id"] for image in images), "image ids", file)
    return images


def _is_image(image: dict[str, Any]) -> bool:
    sides = (image.get("height"), image.get("width"))
    has_sides = all(isinstance(side, int) and side > 0 for side in sides)
    return has_sides and isinstance(image.get("id"), int) and bool(image.get("file_name"))


def _categories(categories: list[Any], file: Path) -> dict[int, str]:
    """Gives the names by their ids, sorted."""
    if not categories:
        raise UserError(f"Expected categories in {file}. Received: none.")
    for category in categories:
        if not isinstance(category, dict) or not isinstance(category.get("id"), int):
            raise UserError(f"Expected an id of each category in {file}. Received: {category}.")
    _unique((category["id"] for category in categories), "category ids", file)
    names = {category["id"]: str(category.get("name", category["id"])) for category in categories}
    _unique(names.values(), "category names", file)
    return dict(sorted(names.items()))


def _wrong(annotation: Any, sizes: Mapping[Any, Any], categories: Mapping[int, str]) -> str | None:
    """Says what is wrong with an annotation; None: nothing."""
    if not isinstance(annotation, dict):
        return f"Expected a dict. Received: {annotation}."
    image_id, category_id = annotation.get("image_id"), annotation.get("category_id")
    if not isinstance(image_id, Hashable) or image_id not in sizes:
        return f"Expected the id of one of the {len(sizes)} images. Received: image id {image_id}."
    if not isinstance(category_id, Hashable) or category_id not in categories:
        known = ", ".join(map(str, categories))
        return f"Expected a category id of {known}. Received: category id {category_id}."
    box = annotation.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
        return f"Expected a bbox of four finite numbers, x, y, width, height. Received: {box}."
    if not _is_number(annotation.get("area", 0)):
        return f"Expected an area in pixels. Received: {annotation['area']}."
    segmentation = annotation.get("segmentation")
    found = fault(segmentation, *sizes[image_id]) if is_given(segmentation) else None
    return f"Expected polygons or run lengths of the image. Received: {found}." if found else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _unique(values: Iterable[Any], what: str, file: Path) -> None:
    twice = [value for value, count in collections.Counter(values).items() if count > 1]
    if twice:
        named = ", ".join(map(str, twice[:NUM_NAMED])) + (", ..." if len(twice) > NUM_NAMED else "")
        raise UserError(
            f"Expected {what} that occur once in {file}. Received more than once: {named}."
        )
