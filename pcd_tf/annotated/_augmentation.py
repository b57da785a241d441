"""How training images and their boxes are changed at random, and the arithmetic of it."""

import dataclasses

import numpy as np
from PIL import Image

from pcd_tf.annotated._source import MIN_SIDE


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Mirrors an image, and scales it; what then reaches over the batch's image is cropped.

    Source: TensorFlow Model Garden, official/vision/configs/retinanet.py,
    `retinanet_resnetfpn_coco` (aug_rand_hflip, aug_scale_min=0.8, aug_scale_max=1.2), and its
    `resize_and_crop_image` in official/vision/ops/preprocess_ops.py.

    Args:
        flip: probability of mirroring left and right.
        scale: smallest and largest size of the image, 1 being the one that just fits.

    Example:
        Augmentation(scale=(0.5, 2.0))
    """

    flip: float = 0.5
    scale: tuple[float, float] = (0.8, 1.2)


NONE = Augmentation(flip=0.0, scale=(1.0, 1.0))


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where an image comes to lie: its pixel at x, y is at x * scale - left, y * scale - top.

    Args:
        scale: the same for height and width, so that shapes keep their proportions.
        left: columns of the scaled image that are cut off.
        top: rows of it that are.
        height: rows that are filled.
        width: columns that are.
    """

    scale: float
    left: int
    top: int
    height: int
    width: int

    def pixels(self, image: np.ndarray, image_size: int) -> np.ndarray:
        """Resizes and cuts out, antialiased; uint8 (H, W, 3) -> (S, S, 3), 0 where there is none.

        The piece that is cut out starts and ends between pixels of the image, so the scale is
        exact; up to one column or row at the far end, a fraction of a pixel, is left out.
        """
        height, width = image.shape[:2]
        box = (
            self.left / self.scale,
            self.top / self.scale,
            min(width, (self.left + self.width) / self.scale),
            min(height, (self.top + self.height) / self.scale),
        )
        size = (self.width, self.height)
        piece = Image.fromarray(image).resize(size, Image.Resampling.BILINEAR, box=box)
        pixels = np.zeros((image_size, image_size, 3), np.uint8)
        pixels[: self.height, : self.width] = np.asarray(piece)
        return pixels

    def boxes(self, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Moves boxes along, float32 (n, 4), and tells which still show a pixel, bool (n,)."""
        moved = boxes * self.scale - np.array([self.left, self.top] * 2)
        moved = np.clip(moved, 0, np.array([self.width, self.height] * 2))
        seen = np.all(moved[:, 2:] - moved[:, :2] >= MIN_SIDE, axis=1)
        return moved.astype(np.float32), seen


def draw(
    augmentation: Augmentation, height: int, width: int, image_size: int, rng: np.random.Generator
) -> tuple[bool, Placement]:
    """Draws whether to mirror an image of H x W pixels, and where it lies among S x S."""
    # All numbers are drawn whether used or not, so that one setting does not shift the next one's.
    flips = bool(rng.random() < augmentation.flip)
    scale = rng.uniform(*augmentation.scale) * image_size / max(height, width)
    scaled_height, scaled_width = _scaled(height, scale), _scaled(width, scale)
    left = int(rng.random() * (max(0, scaled_width - image_size) + 1))
    top = int(rng.random() * (max(0, scaled_height - image_size) + 1))
    return flips, Placement(
        scale, left, top, min(scaled_height, image_size), min(scaled_width, image_size)
    )


def fitting(height: int, width: int, image_size: int) -> Placement:
    """Places an image of H x W pixels so that it just fits S x S, in the corner at the top left."""
    scale = image_size / max(height, width)
    return Placement(scale, 0, 0, _scaled(height, scale), _scaled(width, scale))


def _scaled(side: int, scale: float) -> int:
    return max(1, int(side * scale + 1e-6))  # whole pixels; 1e-6 for a product just below one
