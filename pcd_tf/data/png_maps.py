"""`--dataset=png_maps`: DATA/SPLIT/NAME.jpg with its classes in DATA/SPLIT_sem/NAME.png."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pcd_tf import files, outside
from pcd_tf.data import IGNORED
from pcd_tf.data._decode import SUFFIXES
from pcd_tf.data._files import FileSource, directory
from pcd_tf.data._headers import in_threads
from pcd_tf.data._segmented import NUM_THREADS, MapFiles, Segmented, read_ids
from pcd_tf.errors import UserError


def build_segmented(
    *, data_dir: str | None, split: str, class_names: Sequence[str] = (), **_: object
) -> Segmented:
    """Opens a split of a directory.

    Names of classes that are not given are read from DATA/classes.txt, one a line, that of id 0
    first. Without it they are numbers, as many as the maps of all splits hold, so that splits
    agree.

    Raises:
        UserError: when the directory, or a folder of the split, does not exist; when there is no
            image, or one without a map.
    """
    root = directory(data_dir, "of images and maps")
    images_folder, maps_folder = root / split, root / f"{split}_sem"
    for folder in (images_folder, maps_folder):
        if not folder.is_dir():
            raise UserError(
                f"Expected images in {images_folder} and their class maps in {maps_folder}. "
                f"Received: no directory {folder}."
            )
    found = sorted(path for path in images_folder.glob("[!.]*") if path.suffix.lower() in SUFFIXES)
    name = str(images_folder)
    return Segmented(
        FileSource(name, images_folder, [path.name for path in found]),
        MapFiles(name, maps_folder, [f"{path.stem}.png" for path in found]),
        class_names or _class_names(root),
    )


def _class_names(root: Path) -> list[str]:
    file = root / "classes.txt"
    if not files.is_file(file):
        maps = sorted(root.glob("[!.]*_sem/[!.]*.png"))
        largest = in_threads(
            lambda place: _largest_id(maps[place]),
            range(len(maps)),
            "class maps",
            num_threads=NUM_THREADS,
        )
        return [str(number) for number in range(max(largest, default=0) + 1)]
    names = [outside.plain(line) for line in files.read_lines(file)]
    if "" in names or len(set(names)) < len(names) or len(names) > IGNORED:
        raise UserError(
            f"Expected in {file} a name of its own for each class, one a line, that of id 0 first, "
            f"and at most {IGNORED}. Received: {len(names)} lines, "
            f"{names.count('')} of them empty, with {len(set(names))} different names."
        )
    return names


def _largest_id(path: Path) -> int:
    ids = np.asarray(read_ids(path, name=str(path)))
    return int(np.max(ids, where=ids != IGNORED, initial=0))
