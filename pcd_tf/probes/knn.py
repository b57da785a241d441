"""`--probe=knn`: an image has the class of the training images most like it."""

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from pcd_tf import data, errors
from pcd_tf.probes import _features
from pcd_tf.probes._features import Features, Network

IMAGES = "labelled"
MAIN = "knn_top1"

# Wu et al., "Unsupervised Feature Learning via Non-Parametric Instance Discrimination", 2018, arXiv
# 1805.01978, section 3.4: the temperature; Caron et al. (DINO), 2021, arXiv 2104.14294, section
# 4.1: 20 neighbours.
NUM_NEIGHBOURS = 20
TEMPERATURE = 0.07

# Held-out and training images compared at a time: 64 MiB of cosines, however many there are.
_HELD_OUT, _TRAIN = 1024, 16384

_Float = npt.NDArray[np.float32]


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
    cosines, nearest = nearest_neighbours(train.vectors, held_out.vectors, num_neighbours)
    weights = np.exp(cosines / temperature)  # [m, k]
    num_classes = len(train.class_names)
    places = []  # of the right class in the order of the votes
    for start in range(0, len(nearest), _HELD_OUT):
        rows = slice(start, start + _HELD_OUT)
        votes = np.zeros((len(nearest[rows]), num_classes))
        voters = np.arange(len(votes))[:, None]
        np.add.at(votes, (voters, train.labels[nearest[rows]]), weights[rows])
        order = np.argsort(-votes, axis=1, kind="stable")  # [b, classes]
        places.append(np.argmax(order == held_out.labels[rows, None], axis=1))
    found = np.concatenate(places)
    scores = {"knn_top1": float((found < 1).mean())}
    if num_classes > 5:
        scores["knn_top5"] = float((found < 5).mean())
    return {**scores, "knn_chance": float(np.bincount(held_out.labels).max() / len(found))}


@errors.translated()
def nearest_neighbours(
    train: _Float, held_out: _Float, count: int
) -> tuple[_Float, npt.NDArray[np.int32]]:
    """Finds the training vectors most like each held-out one, block by block.

    Args:
        train: float32 (n, C).
        held_out: float32 (m, C).
        count: k, of neighbours; all n where there are fewer.

    Returns:
        their cosines (m, k), falling, and their indices (m, k), rising among equal cosines.
    """
    num_held_out, num_kept = len(held_out), min(count, len(train))
    cosines = np.full((num_held_out, num_kept), -np.inf, np.float32)
    nearest = np.zeros((num_held_out, num_kept), np.int32)
    queries = _features.unit(held_out)
    with _features.exact_products():
        for first in range(0, len(train), _TRAIN):
            keys = tf.constant(_features.unit(train[first : first + _TRAIN]))
            for start in range(0, num_held_out, _HELD_OUT):
                rows = slice(start, start + _HELD_OUT)
                cosines[rows], nearest[rows] = _merged(
                    cosines[rows], nearest[rows], queries[rows], keys, tf.constant(first)
                )
    return cosines, nearest


@tf.function(reduce_retracing=True)
def _merged(
    cosines: tf.Tensor, nearest: tf.Tensor, queries: tf.Tensor, keys: tf.Tensor, first: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """The best of k neighbours found before and of a block's; `first` is the block's first index.

    `top_k` puts the lower index first among equals, and those found before stand in front.
    """
    num_kept = tf.shape(cosines)[1]
    products = tf.matmul(queries, keys, transpose_b=True)  # [b, keys]
    more, indices = tf.math.top_k(products, tf.minimum(num_kept, tf.shape(keys)[0]))
    candidates = tf.concat([cosines, more], axis=1)  # [b, 2 k]
    places = tf.concat([nearest, indices + first], axis=1)
    best, order = tf.math.top_k(candidates, num_kept)  # [b, k]
    return best, tf.gather(places, order, batch_dims=1)
