"""Small COCO files for the tests."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

# Two images of 40 x 30 pixels, the second without objects; ids with gaps.
CONTENT: dict[str, Any] = {
    "images": [
        {"id": 7, "file_name": "first.png", "height": 30, "width": 40},
        {"id": 9, "file_name": "deep/second.png", "height": 30, "width": 40},
    ],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 5, "bbox": [2, 3, 10, 6], "area": 50, "iscrowd": 0},
        {"id": 2, "image_id": 7, "category_id": 3, "bbox": [20, 5, 8, 8], "area": 64, "iscrowd": 0},
    ],
    "categories": [{"id": 5, "name": "dog"}, {"id": 3, "name": "cat"}],
}


def content() -> dict[str, Any]:
    return copy.deepcopy(CONTENT)


def write(folder: Path, written: dict[str, Any], images: str = "") -> str:
    """Writes instances_val.json and the images, of random pixels, below folder/images."""
    rng = np.random.default_rng(0)
    for image in written["images"]:
        file = folder / images / image["file_name"]
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (image["height"], image["width"], 3), np.uint8)
        Image.fromarray(pixels).save(file)
    (folder / "instances_val.json").write_text(json.dumps(written))
    return str(folder)
