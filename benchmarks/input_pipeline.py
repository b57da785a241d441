"""How fast images are read: ours on one core and on two, beside Pillow and torchvision.

    python benchmarks/input_pipeline.py --photographs=DIR --torch_python=VENV/bin/python
    python benchmarks/input_pipeline.py --number_of_files=1000000

Images of 500 x 375 and of 4000 x 3000 are made of photographs (JPEG), by default of the one that
matplotlib comes with, with noise, so that a small file takes as many bytes as one of ImageNet. Each
number is the median over rounds; in each round every reader runs once, in a process of its own that
has only its cores. Where the machine is busy the numbers fall, their ratios hardly.

VENV has torch, torchvision, pillow and numpy; without it torchvision is left out.
"""

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

IMAGE_SIZE = 224  # pixels a side
DETECTION_SIZE = 512
BATCH = 32
SECONDS_OF_WARM_UP, SECONDS = 4.0, 8.0  # of one process; the second are timed
NUM_SMALL, NUM_LARGE = 300, 32  # images
SMALL, LARGE = (500, 375), (4000, 3000)  # width and height
NOISE = 6.0  # standard deviation; makes a small one 90 to 110 kB at this quality
QUALITY = 92
CASES = {
    "views": "two views of 224 px, JPEGs of 500 x 375",
    "large": "two views of 224 px, JPEGs of 4000 x 3000",
    "records": "two views of 224 px, TFRecords of the 500 x 375",
    "boxes": "one view of 512 px with its boxes, 500 x 375",
    "maps": "one view of 224 px with its class map, 500 x 375",
}
READERS = {"ours 1": 1, "ours 2": 2, "pillow 1": 1, "torchvision 2": 2}  # with how many cores
Box = tuple[float, float, float, float]

_ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--photographs", type=Path, help="folder of JPEGs, at any depth")
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=CASES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--torch_python", help="an interpreter that has torchvision")
    parser.add_argument("--number_of_files", type=int, help="time to the first batch of so many")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--timed", nargs=3, help=argparse.SUPPRESS)  # reader, case, folder
    arguments = parser.parse_args()
    if arguments.timed:
        reader, case, folder = arguments.timed
        print(rate(reader.split()[0], case, Path(folder)))
        sys.stdout.flush()
        os._exit(0)  # readers may have threads that never end
    with tempfile.TemporaryDirectory() as scratch:
        if arguments.number_of_files:
            rows = [first_batch(Path(scratch), arguments.number_of_files)]
            print(rows[0])
        else:
            make(Path(scratch), arguments.photographs, arguments.cases)
            rows = [
                compared(case, Path(scratch), arguments.rounds, arguments.torch_python)
                for case in arguments.cases
            ]
    if arguments.out:
        arguments.out.write_text(json.dumps(rows, indent=2) + "\n")


def compared(case: str, folder: Path, rounds: int, torch_python: str | None) -> dict[str, Any]:
    """Times all readers of a case in turns; prints and returns the medians and their ratios."""
    interpreter = dict.fromkeys(READERS, sys.executable) | {"torchvision 2": torch_python or ""}
    measured: dict[str, list[float]] = {name: [] for name in READERS if interpreter[name]}
    for _ in range(rounds):
        for reader, values in measured.items():
            cores = ",".join(map(str, range(READERS[reader])))
            command = ["taskset", "-c", cores, interpreter[reader], __file__]
            command += ["--timed", reader, case, str(folder)]
            environment = os.environ | {"PYTHONPATH": str(_ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
            run = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
            values.append(float(run.stdout.split()[-1]))
    row = {name: statistics.median(values) for name, values in measured.items()}
    ratios = {
        "two cores / Pillow on one": row["ours 2"] / row["pillow 1"],
        "two cores / one": row["ours 2"] / row["ours 1"],
    }
    if "torchvision 2" in row:
        ratios["two cores / torchvision with two workers"] = row["ours 2"] / row["torchvision 2"]
    needed = {str(wanted): wanted / (row["ours 2"] / 2) for wanted in (1000, 3000)}
    print(f"{CASES[case]}: images/s", {name: round(value) for name, value in row.items()})
    print("    ", ", ".join(f"{name}: {value:.2f}" for name, value in ratios.items()))
    print("    ", ", ".join(f"{cores:.1f} cores for {n} a second" for n, cores in needed.items()))
    return {
        "case": CASES[case],
        "images/s": row,
        "ratios": ratios,
        "cores": needed,
        "all": measured,
    }


def rate(reader: str, case: str, folder: Path) -> float:
    """Reads for some seconds; returns images a second."""
    batches = {"ours": ours, "pillow": pillow, "torchvision": torchvision}[reader](case, folder)
    start = time.perf_counter()
    while time.perf_counter() - start < SECONDS_OF_WARM_UP:
        next(batches)
    start, number = time.perf_counter(), 0
    while (seconds := time.perf_counter() - start) < SECONDS:
        number += next(batches)
    return number / seconds


def ours(case: str, folder: Path) -> Iterator[int]:
    from pcd_tf import data

    size = DETECTION_SIZE if case == "boxes" else IMAGE_SIZE
    settings = {"image_size": size, "global_batch_size": BATCH, "seed": 0}
    if case == "boxes":
        annotated = data.build_annotated("coco_json", data_dir=str(folder / "small"), split="train")
        batches = data.annotated_batches(annotated, data.Augmentation(), **settings)
    elif case == "maps":
        segmented = data.build_segmented("png_maps", data_dir=str(folder / "small"), split="train")
        batches = data.segmented_batches(segmented, **settings)
    else:
        name = "tfrecord" if case == "records" else "folder"
        place = {"views": folder / "small" / "train", "large": folder / "large"}
        source = data.build(name, data_dir=str(place.get(case, folder / "records")))
        batches = data.two_views(source, data.BYOL, **settings)
    for batch in batches:
        yield len(batch["images"])


def pillow(case: str, folder: Path) -> Iterator[int]:
    """The same by hand, in one thread."""
    import numpy as np
    from PIL import Image

    def read(path: Path) -> None:
        image = Image.open(path).convert("RGB")
        if case == "boxes":
            np.asarray(ours_fitted(image))
        elif case == "maps":
            classes = Image.open(folder / "small" / "train_sem" / f"{path.stem}.png")
            box, size = _window(*image.size)
            np.asarray(image.resize(size, Image.Resampling.BILINEAR, box=box))
            np.asarray(classes.resize(size, Image.Resampling.NEAREST, box=box))
        else:
            for _ in range(2):
                size = (IMAGE_SIZE, IMAGE_SIZE)
                view = image.resize(size, Image.Resampling.BILINEAR, box=_crop(*image.size))
                pixels = np.asarray(view)
                if random.random() < 0.5:
                    np.ascontiguousarray(pixels[:, ::-1])

    def ours_fitted(image: Any) -> Any:
        scale = random.uniform(0.8, 1.2) * DETECTION_SIZE / max(image.size)
        width, height = (round(side * scale) for side in image.size)
        return image.resize((width, height), Image.Resampling.BILINEAR).crop(
            (0, 0, DETECTION_SIZE, DETECTION_SIZE)
        )

    files = _images(case, folder)
    while True:
        for path in files:
            read(path)
            yield 1


def torchvision(case: str, folder: Path) -> Iterator[int]:
    """The same by torchvision's v2 transforms in a DataLoader with two workers."""
    import torch
    from PIL import Image
    from torchvision import tv_tensors
    from torchvision.transforms import v2

    torch.set_num_threads(1)
    view = v2.Compose(
        [
            v2.PILToTensor(),
            v2.RandomResizedCrop(IMAGE_SIZE, scale=(0.08, 1.0), antialias=True),
            v2.RandomHorizontalFlip(),
        ]
    )
    detection = v2.Compose(
        [v2.ScaleJitter((DETECTION_SIZE,) * 2, (0.8, 1.2)), v2.RandomHorizontalFlip()]
    )
    pair = v2.Compose(
        [
            v2.ScaleJitter((IMAGE_SIZE,) * 2, (0.5, 2.0)),
            v2.RandomCrop(IMAGE_SIZE, pad_if_needed=True),
            v2.RandomHorizontalFlip(),
        ]
    )

    class Images(torch.utils.data.Dataset):
        files = _images(case, folder)

        def __len__(self) -> int:
            return len(self.files)

        def __getitem__(self, index: int) -> Any:
            image = Image.open(self.files[index]).convert("RGB")
            if case not in ("boxes", "maps"):
                return view(image), view(image)
            pixels = v2.functional.pil_to_tensor(image)
            if case == "maps":
                file = folder / "small" / "train_sem" / f"{self.files[index].stem}.png"
                classes = v2.functional.pil_to_tensor(Image.open(file))[0]
                return pair(tv_tensors.Image(pixels), tv_tensors.Mask(classes))
            boxes = torch.tensor(_boxes(index), dtype=torch.float32)
            kind: Any = tv_tensors.BoundingBoxFormat.XYWH
            found = tv_tensors.BoundingBoxes(boxes, format=kind, canvas_size=pixels.shape[1:])
            pixels, found = detection(tv_tensors.Image(pixels), found)
            whole = torch.zeros((3, DETECTION_SIZE, DETECTION_SIZE), dtype=torch.uint8)
            pixels = pixels[:, :DETECTION_SIZE, :DETECTION_SIZE]
            whole[:, : pixels.shape[1], : pixels.shape[2]] = pixels
            return whole, torch.as_tensor(found)

    loader = torch.utils.data.DataLoader(
        Images(), BATCH, shuffle=True, num_workers=2, drop_last=True, persistent_workers=True
    )
    while True:
        for batch in loader:
            yield len(batch[0])


def make(folder: Path, photographs: Path | None, cases: list[str]) -> None:
    """Makes the images of all cases out of photographs."""
    import numpy as np
    from matplotlib import cbook
    from PIL import Image, ImageOps

    given = photographs or Path(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))
    found = sorted(given.rglob("*.jpg")) or [given]
    rng = np.random.default_rng(0)

    def write(source: Path, target: Path, size: tuple[int, int]) -> None:
        image = ImageOps.fit(Image.open(source).convert("RGB"), size, Image.Resampling.BICUBIC)
        noisy = np.asarray(image) + NOISE * rng.standard_normal((size[1], size[0], 1))
        Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(target, quality=QUALITY)

    small = folder / "small"
    for place in (small / "train", small / "train_sem", folder / "large"):
        place.mkdir(parents=True)
    names = [f"{number:04d}.jpg" for number in range(NUM_SMALL)]
    for number, name in enumerate(names):
        write(found[number % len(found)], small / "train" / name, SMALL)
        squares = (np.arange(SMALL[1])[:, None] // 64 + np.arange(SMALL[0]) // 64) % 5
        file = (small / "train_sem" / name).with_suffix(".png")
        Image.fromarray(squares.astype(np.uint8)).save(file)
    for number in range(NUM_LARGE if "large" in cases else 0):
        write(found[number % len(found)], folder / "large" / f"{number}.jpg", LARGE)
    annotations = [
        {"id": 1 + len(names) * place + number, "image_id": number, "category_id": 1, "bbox": box}
        for number in range(len(names))
        for place, box in enumerate(_boxes(number))
    ]
    images = [
        {"id": number, "file_name": name, "width": SMALL[0], "height": SMALL[1]}
        for number, name in enumerate(names)
    ]
    categories = [{"id": 1, "name": "thing"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (small / "instances_train.json").write_text(json.dumps(content))
    if "records" in cases:
        command = [sys.executable, str(_ROOT / "main.py"), "prepare", "--dataset=folder"]
        command += [f"--data_dir={small / 'train'}", f"--workdir={folder / 'records'}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def first_batch(folder: Path, number: int) -> dict[str, float]:
    """Measures the seconds and the memory until the first batch of a folder of many files."""
    import numpy as np
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    for place in range(number):
        directory = folder / "images" / f"{place // 1000:04d}"
        if place % 1000 == 0:  # a file system allows so many links to one file, ext4 65,000
            directory.mkdir(parents=True)
            first = directory / f"{place:08d}.jpg"
            Image.fromarray(pixels).save(first)
        else:
            os.link(first, directory / f"{place:08d}.jpg")
    code = f"""
import os, time
start = time.perf_counter()
from pcd_tf import data
source = data.build("folder", data_dir={str(folder / "images")!r})
settings = dict(image_size={IMAGE_SIZE}, global_batch_size={BATCH}, seed=0)
next(iter(data.two_views(source, data.BYOL, **settings)))
print(time.perf_counter() - start, flush=True)
os._exit(0)
"""
    environment = os.environ | {"PYTHONPATH": str(_ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, check=True
    )
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return {"files": number, "seconds": float(run.stdout), "peak MB": peak / 1024}


def _images(case: str, folder: Path) -> list[Path]:
    place = folder / "large" if case == "large" else folder / "small" / "train"
    return sorted(place.glob("*.jpg"))


def _boxes(number: int) -> list[list[float]]:
    """Draws seven boxes, as many as an image of COCO has on average: x, y, width, height."""
    rng = random.Random(number)
    return [
        [rng.uniform(0, 300), rng.uniform(0, 200), *(rng.uniform(20, 150),) * 2] for _ in range(7)
    ]


def _crop(width: int, height: int) -> Box:
    """Draws a crop as torchvision's RandomResizedCrop: left, top, right, bottom."""
    for _ in range(10):
        area = width * height * random.uniform(0.08, 1.0)
        ratio = (3 / 4) ** random.uniform(-1, 1)
        w, h = round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)
        if 0 < w <= width and 0 < h <= height:
            x, y = random.randint(0, width - w), random.randint(0, height - h)
            return x, y, x + w, y + h
    return 0, 0, min(width, height), min(width, height)


def _window(width: int, height: int) -> tuple[Box, tuple[int, int]]:
    """Draws what is seen of an image that is scaled by 0.5 to 2: its part, and the size of that."""
    scale = random.uniform(0.5, 2.0) * IMAGE_SIZE / max(width, height)
    w, h = min(width, IMAGE_SIZE / scale), min(height, IMAGE_SIZE / scale)
    x, y = random.uniform(0, width - w), random.uniform(0, height - h)
    return (x, y, x + w, y + h), (max(1, round(w * scale)), max(1, round(h * scale)))


if __name__ == "__main__":
    main()
