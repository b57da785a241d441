"""What compare asks of its inits and seeds."""

import pytest

from pcd_tf.configs.compare import Config
from pcd_tf.errors import UserError


def test_several_inits_are_taken_each_with_its_home_directory(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")
    config = Config(workdir="x", inits="random, ~/runs/student")
    config.validate()
    assert config.names == ("random", "/home/ann/runs/student")


def test_the_last_seed_is_a_seed_too():
    Config(workdir="x", inits="random,y", seed=2**32 - 3, seeds=3).validate()
    with pytest.raises(UserError, match="seed: expected the last of the 4 seeds to be at most 429"):
        Config(workdir="x", inits="random,y", seed=2**32 - 3, seeds=4).validate()


@pytest.mark.parametrize("inits", ["random", "random,random", ",", "~/x,~/x"])
def test_fewer_than_two_different_inits_are_refused(inits):
    with pytest.raises(UserError, match="inits: expected two or more different ones"):
        Config(workdir="x", inits=inits).validate()
