"""`--dataset=coco_json`: COCO's format, a JSON file and a folder of images."""

import os
from collections.abc import Sequence
from pathlib import Path

from pcd_tf import files, outside
from pcd_tf.data import _coco_file
from pcd_tf.data._annotated import Annotated
from pcd_tf.data._files import FileSource, directory
from pcd_tf.errors import UserError


def build_annotated(
    *,
    data_dir: str | os.PathLike[str] | None = None,
    split: str,
    annotations: str | os.PathLike[str] | None = None,
    class_names: Sequence[str] = (),
    **_: object,
) -> Annotated:
    """Opens images and the JSON file that annotates them, as COCO publishes them.

    Everything in the file but masks is checked at the start, and that each image is there. Masks
    are offered when every object has one, which is checked when one is asked for: polygons or run
    lengths, compressed or not. A class that only stands above others, that no object has, and that
    class_names does not ask for, is left out.

    Source: cocodataset.org/#format-data, "Object Detection".

    Args:
        data_dir: the directory; the images are in data_dir/SPLIT, data_dir or data_dir/images.
        split: which part, such as "train2017".
        annotations: the JSON file; default: data_dir/instances_SPLIT.json, or the same in
            data_dir/annotations.
        class_names: those asked for, in their order, such as another split's; default: by id.

    Raises:
        UserError: when the JSON file or an image is missing; when the file is not COCO's format, or
            an annotation in it is wrong.
    """
    root = directory(data_dir, "of the images")
    file = _annotation_file(root, split, annotations)
    content = _coco_file.read(file, class_names)
    for name in content.file_names:
        outside.relative(name, file)
    folder = _image_folder(root, split, content.file_names, file)
    return Annotated(
        FileSource(str(file), folder, content.file_names),
        content.annotations,
        class_names=content.class_names,
        category_ids=content.category_ids,
    )


def _annotation_file(root: Path, split: str, annotations: str | os.PathLike[str] | None) -> Path:
    name = f"instances_{split}.json"
    if annotations is not None:
        candidates = [Path(annotations).expanduser()]
    else:
        candidates = [root / name, root / "annotations" / name]
    for candidate in candidates:
        if files.is_file(candidate):
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
        missing = [name for name in names if not files.is_file(folder / name)]
        if not missing:
            return folder
        if len(missing) < len(fewest[0]):
            fewest = (missing, folder)
    missing, folder = fewest
    where = folder if len(missing) < len(names) else f"{root / split}, {root} and {root / 'images'}"
    raise UserError(
        f"Expected the {len(names)} images of {file} in {where}. Received: {len(missing)} of them "
        f"are missing: {outside.named(missing)}. Give the right data_dir, or take them out of the "
        "file."
    )
