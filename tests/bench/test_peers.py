"""Peers say which slots are alerts to them, where they can run."""

from importlib.util import find_spec

import numpy as np
import pytest

from bench.quality.peers import JARS, LEAST, forest, trees

SPIKE = 2500


def wave() -> np.ndarray:
    values_S = 10 * np.sin(np.arange(3000) / 20) + np.random.default_rng(0).random(3000)
    values_S[SPIKE] = 60.0
    return values_S


@pytest.mark.skipif(not JARS.exists(), reason="its jars were not fetched")
def test_a_spike_is_an_alert_to_the_forest() -> None:
    z_S = forest(wave(), 288)
    assert z_S.shape == (3000,)
    assert np.flatnonzero(z_S >= LEAST).tolist() == [SPIKE]


@pytest.mark.skipif(find_spec("river") is None, reason="river is not installed")
def test_trees_say_yes_or_no() -> None:
    z_S = trees(wave(), 288)
    assert z_S.shape == (3000,)
    assert set(np.unique(z_S >= LEAST)) == {False, True}
    assert ((z_S == 0) | (z_S >= LEAST)).all()
