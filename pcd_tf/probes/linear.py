"""`--probe=linear`: a linear classifier on the pooled features."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from pcd_tf import data
from pcd_tf.errors import UserError
from pcd_tf.probes import _features, _sgd
from pcd_tf.probes._features import Classifier, Features, Network

IMAGES = "labelled"
MAIN = "linear_top1"

# The largest set that L-BFGS is for, training images x channels x classes. scikit-learn runs on the
# CPU: with 1e9 an iteration takes 0.4 s on two cores (measured), and six fits of up to 2000 of them
# an hour or so at the worst. ImageNet on 512 channels is 6.6e11: days.
MOST_PRODUCTS = 1e9

# [ours] Inverse strengths of the L2 penalty that are tried, as scikit-learn's C, on standardised
# features; Kornblith et al., 2019, arXiv 1805.08974, appendix A.5, choose it by validation too.
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
_MOST_ITERATIONS = 2000

_VALIDATION = 5  # every fifth training image of a class is held out to choose among settings
_BLOCK = 8192  # images scored at a time, for memory

_Solver = Callable[[Features, Sequence[float]], list[Classifier]]  # a classifier a setting


def evaluate(
    network: Network, train: data.Source, held_out: data.Source, **size: int
) -> dict[str, float]:
    """Scores pooled features; `size` is image_size and batch_size; see `score`."""
    return score(*_features.pooled_pair(network, train, held_out, **size))


def score(train: Features, held_out: Features) -> dict[str, float]:
    """Trains a linear classifier on vectors, standardised by the training images, and scores it.

    Up to MOST_PRODUCTS by L-BFGS with an L2 penalty, whose strength is chosen; beyond by SGD
    without one, whose rate is chosen, as DINO, DINOv2 and MoCo do: see `_sgd`. The choice is made
    on every fifth training image of each class; then all of them are learnt from. The held-out
    images take no part in any choice, where DINOv2's sweep takes the best of them. Features are
    those of one centre crop, without the random crops that the published protocols train on.

    Returns:
        linear_top1; linear_top5 where there are more than five classes; what was chosen, linear_c,
        L-BFGS's strength, or linear_rate, SGD's for 256 images; linear_chance, the share of the
        commonest class among the held-out images.
    """
    if len(set(train.labels.tolist())) < 2:
        raise UserError(
            "Expected readable training images of two classes or more. Received: one class."
        )
    solver: _Solver = _lbfgs
    settings: Sequence[float] = STRENGTHS
    name, title = "linear_c", "L-BFGS, C"
    if train.vectors.size * len(train.class_names) > MOST_PRODUCTS:
        solver, settings = _sgd.fit, _sgd.RATES
        name, title = "linear_rate", "SGD, rate"
    chosen = _choose(solver, settings, train)
    print(f"Linear classifier by {title} {chosen:g}, chosen on a fifth of the training images.")
    (classify,) = solver(train, [chosen])
    scores = {"linear_top1": _top(classify, held_out, 1)}
    if len(train.class_names) > 5:
        scores["linear_top5"] = _top(classify, held_out, 5)
    chance = float(np.bincount(held_out.labels).max() / len(held_out.labels))
    return {**scores, name: chosen, "linear_chance": chance}


def _choose(solver: _Solver, settings: Sequence[float], train: Features) -> float:
    """The best setting on a part of the training images; the first of equals."""
    is_validation = _every_fifth_of_a_class(train.labels)
    if not is_validation.any():
        return settings[len(settings) // 2]
    validation = train.part(is_validation)
    classifiers = solver(train.part(~is_validation), settings)
    return settings[int(np.argmax([_top(one, validation, 1) for one in classifiers]))]


def _lbfgs(train: Features, strengths: Sequence[float]) -> list[Classifier]:
    """Fits logistic regressions; a class that has no image has a logit of minus infinity."""
    mean, deviation = _features.mean_and_deviation(train.vectors)
    standardised = (train.vectors - mean) / deviation

    def fit(strength: float) -> Classifier:
        model = LogisticRegression(C=strength, max_iter=_MOST_ITERATIONS)
        model.fit(standardised, train.labels)

        def classify(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
            found = model.decision_function((vectors - mean) / deviation)
            if found.ndim == 1:  # scikit-learn gives the second class's alone where there are two
                found = np.stack([-found, found], axis=1)
            logits = np.full((len(vectors), len(train.class_names)), -np.inf, np.float32)
            logits[:, model.classes_] = found
            return logits

        return classify

    return [fit(strength) for strength in strengths]


def _top(classify: Classifier, part: Features, count: int) -> float:
    """The share of images whose class is among the `count` most probable ones."""
    found = 0
    for start in range(0, len(part.labels), _BLOCK):
        labels = part.labels[start : start + _BLOCK, None]
        logits = classify(part.vectors[start : start + _BLOCK])
        right = np.take_along_axis(logits, labels, axis=1)  # [b, 1]
        is_before = np.arange(logits.shape[1]) < labels  # among equals the first class counts
        places = ((logits > right) | ((logits == right) & is_before)).sum(axis=1)
        found += int(((places < count) & np.isfinite(right[:, 0])).sum())
    return found / len(part.labels)


def _every_fifth_of_a_class(labels: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    chosen = np.zeros(len(labels), np.bool_)
    for label in np.unique(labels):
        chosen[np.flatnonzero(labels == label)[_VALIDATION - 1 :: _VALIDATION]] = True
    return chosen
