"""COCO's average precision of detected boxes and masks."""

import contextlib
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pcd_tf.data import Annotated
from pcd_tf.errors import UserError

# The places of COCO's numbers in `COCOeval.stats` (pycocotools/cocoeval.py, summarize).
STATS = {"AP": 0, "AP50": 1, "AP75": 2, "APs": 3, "APm": 4, "APl": 5, "AR100": 8}
AGNOSTIC_STATS = {"AP_agnostic": 0, "AP50_agnostic": 1}
IOU_TYPES = ("bbox", "segm")


class Detections:
    """Collects what was detected on the images of a source, and scores it.

    Scored is against the annotations as they are: boxes that reach out of their image, and thin
    ones, which training clips and leaves out, count as pycocotools counts them in the file.
    AP is the mean over ten overlaps (IoU 0.50 to 0.95), all classes and 101 points of recall, from
    the 100 best detections of an image; AP50 is that at IoU 0.50. A crowd is neither right nor
    wrong to find. "Agnostic" scores take all classes for one: they tell finding from naming, and
    are steadier where a class has few objects. Images that nothing was added for count as images
    where nothing was detected.

    Source: Lin et al., "Microsoft COCO: Common Objects in Context", 2014, arXiv 1405.0312;
    cocodataset.org/#detection-eval, computed by pycocotools.

    Args:
        source: the images and what is on them.

    Example:
        detections = Detections(source)
        detections.add(0, boxes, scores, classes)
        detections.scores()["AP"]
    """

    def __init__(self, source: Annotated) -> None:
        self._source = source
        self._results: dict[int, list[dict[str, Any]]] = {}

    def add(
        self,
        index: int,
        boxes: np.ndarray,
        scores: np.ndarray,
        classes: np.ndarray,
        masks: Sequence[dict[str, Any]] | None = None,
    ) -> None:
        """Takes the n detections of an image, in any order; those added before are replaced.

        Args:
            index: which image of the source.
            boxes: float (n, 4), x1, y1, x2, y2 in pixels of the original image.
            scores: float (n,), higher is surer.
            classes: int (n,), indices into the source's `class_names`.
            masks: n compressed COCO RLEs in the size of the original image, for "segm".

        Raises:
            UserError: when the lengths differ, a number is not finite, or there is no such image
                or class.
        """
        boxes, scores = np.asarray(boxes, np.float64), np.asarray(scores, np.float64)
        classes = np.asarray(classes)
        self._check(index, boxes, scores, classes, masks)
        corner, sides = boxes[:, :2], boxes[:, 2:] - boxes[:, :2]
        rows = np.concatenate([corner, sides], axis=1).tolist()  # (n, 4): x, y, width, height
        found: list[dict[str, Any]] = [
            {
                "image_id": self._source.objects(index).image_id,
                "category_id": self._source.category_ids[label],
                "bbox": row,
                "score": score,
            }
            for row, score, label in zip(rows, scores.tolist(), classes.tolist(), strict=True)
        ]
        for result, mask in zip(found, masks or (), strict=masks is not None):
            counts = mask["counts"]
            counts = counts.decode("ascii") if isinstance(counts, bytes) else counts
            result["segmentation"] = {"size": list(mask["size"]), "counts": counts}
        self._results[index] = found

    def results(self) -> list[dict[str, Any]]:
        """Gives all detections in COCO's results format, ready for JSON, in the images' order."""
        return [result for index in sorted(self._results) for result in self._results[index]]

    def scores(self, iou_type: str = "bbox") -> dict[str, Any]:
        """Scores what was added so far.

        Args:
            iou_type: "bbox", the overlap of boxes, or "segm", that of masks.

        Returns:
            AP, AP50, AP75, APs, APm, APl (objects under 32 x 32, under 96 x 96, and larger), AR100,
            AP_agnostic, AP50_agnostic, each 0 to 1, and by_class, {name: {"AP", "AP50"}}. NaN where
            there is no such object to find.

        Raises:
            UserError: when there are no masks to compare.
        """
        self._check_iou_type(iou_type)
        found, truth = self.results(), _coco(self._source.coco(masks=iou_type == "segm"))
        by_class = _evaluated(truth, found, iou_type)
        agnostic = _evaluated(truth, found, iou_type, use_classes=False)
        scores: dict[str, Any] = {
            **_picked(by_class.stats, STATS),
            **_picked(agnostic.stats, AGNOSTIC_STATS),
        }
        scores["by_class"] = _by_class(by_class, self._source)
        return scores

    def _check(
        self,
        index: int,
        boxes: np.ndarray,
        scores: np.ndarray,
        classes: np.ndarray,
        masks: Sequence[dict[str, Any]] | None,
    ) -> None:
        if not 0 <= index < self._source.num_examples:
            raise UserError(
                f"Expected an image of {self._source.name}, 0 to {self._source.num_examples - 1}. "
                f"Received: {index}."
            )
        number = len(boxes)
        shapes = (boxes.shape, scores.shape, classes.shape)
        if shapes != ((number, 4), (number,), (number,)):
            raise UserError(
                "Expected boxes (n, 4), scores (n,) and classes (n,) of one image. "
                f"Received: {', '.join(map(str, shapes))}."
            )
        if masks is not None and len(masks) != number:
            raise UserError(f"Expected a mask of each of {number} boxes. Received: {len(masks)}.")
        if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
            raise UserError(
                f"Expected finite boxes and scores of image {index}. Received: NaN or infinite "
                "ones: the network has diverged."
            )
        num_classes = len(self._source.class_names)
        if number and not (classes.min() >= 0 and classes.max() < num_classes):
            raise UserError(
                f"Expected classes from 0 to {num_classes - 1}. "
                f"Received: {classes.min()} to {classes.max()}."
            )

    def _check_iou_type(self, iou_type: str) -> None:
        if iou_type not in IOU_TYPES:
            raise UserError(f"Expected iou_type of {', '.join(IOU_TYPES)}. Received: {iou_type!r}.")
        if iou_type == "segm" and not self._source.has_masks:
            raise UserError(
                f"Expected masks in {self._source.name}, for iou_type='segm'. Received: "
                f"{self._source.mask_fault}. Use iou_type='bbox'."
            )
        if iou_type == "segm" and any("segmentation" not in result for result in self.results()):
            raise UserError(
                "Expected masks of all detections, for iou_type='segm'. Received: some without. "
                "Give masks to `add`."
            )


def _coco(content: dict[str, Any]) -> COCO:
    coco = COCO()
    coco.dataset = content
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def _found(truth: COCO, results: list[dict[str, Any]], iou_type: str) -> COCO:
    """Makes an index of the detections; `COCO.loadRes` does not take an empty list."""
    if not results:
        return _coco({**truth.dataset, "annotations": []})
    # It writes into the dicts, and takes those with a box for boxes, whatever the IoU type.
    other = "segmentation" if iou_type == "bbox" else "bbox"
    results = [{key: value for key, value in r.items() if key != other} for r in results]
    with contextlib.redirect_stdout(io.StringIO()):
        return truth.loadRes(results)


def _evaluated(
    truth: COCO, results: list[dict[str, Any]], iou_type: str, *, use_classes: bool = True
) -> COCOeval:
    evaluation = COCOeval(truth, _found(truth, results, iou_type), iou_type)
    if not use_classes:
        evaluation.params.useCats = 0
        evaluation.params.areaRng = evaluation.params.areaRng[:1]  # all sizes together
        evaluation.params.areaRngLbl = evaluation.params.areaRngLbl[:1]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def _picked(stats: np.ndarray, places: dict[str, int]) -> dict[str, float]:
    return {name: _score(float(stats[place])) for name, place in places.items()}


def _score(value: float) -> float:
    return math.nan if value < 0 else value  # COCO writes -1 where there is nothing to find


def _by_class(evaluation: COCOeval, source: Annotated) -> dict[str, dict[str, float]]:
    """Takes the AP of each class out of COCO's precision, (IoU, recall, class, area, maxDets)."""
    precision = evaluation.eval["precision"][:, :, :, 0, -1]  # all areas, 100 detections
    place = {category_id: i for i, category_id in enumerate(evaluation.params.catIds)}
    scores = {}
    for name, category_id in zip(source.class_names, source.category_ids, strict=True):
        of_class = precision[:, :, place[category_id]]  # (10, 101): IoU from 0.50, recall
        scores[name] = {"AP": _score(of_class.mean()), "AP50": _score(of_class[0].mean())}
    return scores
