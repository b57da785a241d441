"""The order of an epoch, and the random numbers of an example."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from pcd_tf.data._order import shuffled, uniform


def orders(num_examples: int, seed: int, num_epochs: int) -> np.ndarray:
    """The indices of epochs, one a row."""
    records = shuffled(num_examples, seed).batch(num_examples * num_epochs)
    first = next(records.as_numpy_iterator())
    np.testing.assert_array_equal(first["epoch"], np.repeat(np.arange(num_epochs), num_examples))
    return first["index"].reshape(num_epochs, num_examples)


@pytest.mark.parametrize("num_examples", [1, 2, 3, 7, 1000])
def test_an_epoch_has_every_number_once(num_examples: int):
    for order in orders(num_examples, 5, 3):
        assert sorted(order) == list(range(num_examples))


def test_epochs_and_seeds_have_orders_of_their_own():
    """Also those that differ in high bits alone, or in the 257th epoch."""
    found = orders(40, 0, 300)
    seeds = [1, 256, 2**16, 2**31, 2**32 - 1]
    found = np.concatenate([found, *(orders(40, seed, 4) for seed in seeds)])
    assert len(np.unique(found, axis=0)) == 300 + 4 * len(seeds)
    np.testing.assert_array_equal(orders(40, 2**31, 4), orders(40, 2**31, 4))


@pytest.mark.parametrize("start", [1, 6, 7, 20])
def test_it_starts_anywhere(start: int):
    whole = list(shuffled(7, 3).take(30).as_numpy_iterator())
    assert list(shuffled(7, 3, start).take(30 - start).as_numpy_iterator()) == whole[start:]


@pytest.mark.parametrize("num_examples", [2, 3, 7])
def test_every_number_comes_equally_often_at_every_place(num_examples: int):
    num_epochs = 1500
    found = orders(num_examples, 1, num_epochs)
    expected = num_epochs / num_examples
    counts = np.stack([np.bincount(places, minlength=num_examples) for places in found.T])
    chi_squared = ((counts - expected) ** 2 / expected).sum()
    freedom = (num_examples - 1) ** 2
    # Four standard deviations, and a little for one degree of freedom, which has a long tail. With
    # plain numbers for a key it is some 8 times the degrees of freedom.
    assert chi_squared < freedom + 4 * np.sqrt(2 * freedom) + 6
    # Nor does the next number tend to follow one, nor the last order tend to come again.
    following = np.mean(np.diff(found, axis=1) % num_examples == 1)
    assert abs(following - 1 / (num_examples - 1)) < 0.03
    again = np.mean(found[1:] == found[:-1])
    assert abs(again - 1 / num_examples) < 0.03


def test_no_image_stays_near_its_place():
    found = orders(500, 9, 40)
    places = np.arange(500)
    correlations = [np.corrcoef(places, order)[0, 1] for order in found]
    assert np.max(np.abs(correlations)) < 4.5 / np.sqrt(500)
    assert abs(np.mean(correlations)) < 4 / np.sqrt(500 * 40)
    in_blocks = (found // 50 * 10 + places // 50).ravel()  # a tenth of the images and of places
    assert np.abs(np.bincount(in_blocks, minlength=100) - 200).max() < 70


def test_random_numbers_are_those_of_one_example_of_one_epoch():
    seeds = [0, 1, 2**31, 2**32 - 1]
    keys = list(itertools.product(seeds, [0, 1, 2**20], [0, 1, 2**32]))

    def drawn(seed: int, epoch: int, index: int) -> tuple[float, ...]:
        record = {"epoch": tf.constant(epoch, tf.int64), "index": tf.constant(index, tf.int64)}
        return tuple(uniform(seed, record, (4,)).numpy().tolist())

    assert len({drawn(*key) for key in keys}) == len(keys)
    assert drawn(1, 2, 3) == drawn(1, 2, 3)


def test_random_numbers_are_uniform():
    record = {"epoch": tf.constant(2, tf.int64), "index": tf.constant(3, tf.int64)}
    numbers = uniform(1, record, (10000,)).numpy()
    assert 0 <= numbers.min() < 0.001
    assert 0.999 < numbers.max() < 1
    assert np.abs(np.bincount((10 * numbers).astype(int)) - 1000).max() < 150
