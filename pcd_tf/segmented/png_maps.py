"""`--dataset=png_maps`: DATA/SPLIT/NAME.jpg with its classes in DATA/SPLIT_sem/NAME.png."""

from pathlib import Path

import numpy as np

from pcd_tf.errors import UserError
from pcd_tf.segmented import _source

_EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


def build(*, data_dir: str | None, split: str, **_: object) -> _source.Source:
    """Opens a split of a directory.

    Names of classes are read from DATA/classes.txt, one a line, that of id 0 first. Without it they
    are numbers, as many as the maps of all splits hold, so that splits agree.

    Raises:
        UserError: when the directory, or a folder of the split, does not exist; when there is no
            image, or one without a map.
    """
    if data_dir is None:
        raise UserError("Expected data_dir, the directory of images and maps. Received: None.")
    root = Path(data_dir).expanduser()
    images_folder, maps_folder = root / split, root / f"{split}_sem"
    for folder in (images_folder, maps_folder):
        if not folder.is_dir():
            raise UserError(
                f"Expected images in {images_folder} and their class maps in {maps_folder}. "
                f"Received: no directory {folder}."
            )
    images = sorted(path for path in images_folder.iterdir() if path.suffix.lower() in _EXTENSIONS)
    maps = [maps_folder / f"{path.stem}.png" for path in images]
    return _source.PngSource(str(images_folder), images, maps, _class_names(root))


def _class_names(root: Path) -> list[str]:
    file = root / "classes.txt"
    if file.is_file():
        return [line.strip() for line in file.read_text().splitlines() if line.strip()]
    largest = 0
    for folder in sorted(root.glob("*_sem")):
        for path in folder.glob("*.png"):
            ids = _source.read_ids(path)
            known = ids[ids != _source.IGNORED]
            largest = max(largest, int(np.max(known, initial=0)))
    return [str(number) for number in range(largest + 1)]
