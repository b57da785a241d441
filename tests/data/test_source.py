"""The order of images reached by number, from epoch to epoch."""

import numpy as np
import pytest

from pcd_tf import data


@pytest.mark.parametrize("start", [0, 4, 5, 7])
def test_epochs_follow_one_another_from_any_record_on(start):
    stream = data.epochs(lambda epoch: data.shuffled_indices(5, 7, epoch), 5, start=start)
    found = [(int(r["epoch"]), int(r["index"])) for r in stream.take(8).as_numpy_iterator()]
    expected = [
        (epoch, index)
        for epoch in range(3)
        for index in np.random.default_rng([7, epoch]).permutation(5).tolist()
    ]
    assert found == expected[start : start + 8]
