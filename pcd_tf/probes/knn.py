"""`--probe=knn`: an image has the class of the training images most like it."""

import numpy as np

from pcd_tf import data
from pcd_tf.probes import _features
from pcd_tf.probes._features import Features, Network

IMAGES = "labelled"
MAIN = "knn_top1"

# Wu et al., "Unsupervised Feature Learning via Non-Parametric Instance Discrimination", 2018, arXiv
# 1805.01978, section 3.4: the temperature; Caron et al. (DINO), 2021, arXiv 2104.14294, section
# 4.1: 20 neighbours.
NUM_NEIGHBOURS = 20
TEMPERATURE = 0.07

_BLOCK = 512  # held-out images compared at a time, for memory


def evaluate(
    network: Network, train: data.Source, held_out: data.Source, **size: int
) -> dict[str, float]:
    """Scores pooled features; `size` is image_size and batch_size; see `score`."""
    return score(*_features.pooled_pair(network, train, held_out, **size))


def score(
    train: Features,
    held_out: Features,
    *,
    num_neighbours: int = NUM_NEIGHBOURS,
    temperature: float = TEMPERATURE,
) -> dict[str, float]:
    """Classifies held-out vectors by a weighted vote of their nearest training vectors.

    A neighbour of cosine s votes with exp(s / T). Nothing is trained and nothing is to be tuned, so
    it is quick and tells what the features hold as they are.

    Returns:
        knn_top1; knn_top5 where there are more than five classes; knn_chance, the share of the
        commonest class among the held-out images.

    Example:
        score(pooled(network, train, ...), pooled(network, val, ...))["knn_top1"]
    """
    neighbours = min(num_neighbours, len(train.labels))
    ours, theirs = _features.unit(train.vectors), _features.unit(held_out.vectors)
    num_classes = len(train.class_names)
    places = []  # of the right class in the order of the votes
    for start in range(0, len(theirs), _BLOCK):
        cosines = theirs[start : start + _BLOCK] @ ours.T  # [b, n]
        nearest = np.argpartition(-cosines, neighbours - 1, axis=1)[:, :neighbours]  # [b, k]
        weights = np.exp(np.take_along_axis(cosines, nearest, axis=1) / temperature)
        votes = np.zeros((len(cosines), num_classes))
        rows = np.arange(len(cosines))[:, None]
        np.add.at(votes, (rows, train.labels[nearest]), weights)
        order = np.argsort(-votes, axis=1, kind="stable")  # [b, classes]
        right = held_out.labels[start : start + _BLOCK, None]
        places.append(np.argmax(order == right, axis=1))
    found = np.concatenate(places)
    scores = {"knn_top1": float((found < 1).mean())}
    if num_classes > 5:
        scores["knn_top5"] = float((found < 5).mean())
    return {**scores, "knn_chance": float(np.bincount(held_out.labels).max() / len(found))}
