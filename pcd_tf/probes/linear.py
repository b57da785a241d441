"""`--probe=linear`: a logistic regression on the pooled features."""

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from pcd_tf import data
from pcd_tf.errors import UserError
from pcd_tf.probes import _features
from pcd_tf.probes._features import Features, Network

IMAGES = "labelled"
MAIN = "linear_top1"

# [ours] Inverse strengths of the L2 penalty that are tried, as scikit-learn's C, on standardised
# features; Kornblith et al., 2019, arXiv 1805.08974, appendix A.5, choose it by validation too.
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
_VALIDATION = 5  # every fifth training image of a class is held out to choose among them
_MOST_ITERATIONS = 2000  # of L-BFGS


def evaluate(
    network: Network, train: data.Source, held_out: data.Source, **size: int
) -> dict[str, float]:
    """Scores pooled features; `size` is image_size and batch_size; see `score`."""
    return score(*_features.pooled_pair(network, train, held_out, **size))


def score(train: Features, held_out: Features) -> dict[str, float]:
    """Trains a multinomial logistic regression on vectors, and classifies held-out ones.

    The features are standardised by the training images. The strength of the penalty is chosen on
    every fifth training image of each class; the held-out images take no part in any choice.

    Returns:
        linear_top1; linear_top5 where there are more than five classes; linear_c, the strength
        chosen; linear_chance, the share of the commonest class among the held-out images.
    """
    mean, deviation = train.vectors.mean(axis=0), train.vectors.std(axis=0)
    deviation[deviation < 1e-6 * max(float(deviation.max()), 1e-12)] = 1.0  # a constant channel
    train, held_out = (
        Features((part.vectors - mean) / deviation, part.labels, part.class_names)
        for part in (train, held_out)
    )
    is_validation = _every_fifth_of_a_class(train.labels)
    fitted, validation = train.part(~is_validation), train.part(is_validation)
    strength = STRENGTHS[len(STRENGTHS) // 2]
    if len(validation.labels):
        found = [_top(_fit(fitted, strength), validation, 1) for strength in STRENGTHS]
        strength = STRENGTHS[int(np.argmax(found))]  # the strongest penalty of equals
    model = _fit(train, strength)
    scores = {"linear_top1": _top(model, held_out, 1)}
    if len(train.class_names) > 5:
        scores["linear_top5"] = _top(model, held_out, 5)
    chance = float(np.bincount(held_out.labels).max() / len(held_out.labels))
    return {**scores, "linear_c": strength, "linear_chance": chance}


def _fit(part: Features, strength: float) -> LogisticRegression:
    if len(set(part.labels.tolist())) < 2:
        raise UserError(
            "Expected readable training images of two classes or more. Received: one class."
        )
    return LogisticRegression(C=strength, max_iter=_MOST_ITERATIONS).fit(part.vectors, part.labels)


def _top(model: LogisticRegression, part: Features, count: int) -> float:
    """The share of images whose class is among the `count` most probable ones."""
    logits = np.reshape(model.decision_function(part.vectors), (len(part.labels), -1))
    if logits.shape[1] == 1:  # scikit-learn gives the second class's alone where there are two
        logits = np.hstack([-logits, logits])
    best = model.classes_[np.argsort(-logits, axis=1, kind="stable")[:, :count]]  # [n, count]
    return float((best == part.labels[:, None]).any(axis=1).mean())


def _every_fifth_of_a_class(labels: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    chosen = np.zeros(len(labels), np.bool_)
    for label in np.unique(labels):
        chosen[np.flatnonzero(labels == label)[_VALIDATION - 1 :: _VALIDATION]] = True
    return chosen
