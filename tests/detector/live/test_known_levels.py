"""Leaps between known levels are no news, anything else is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.live.evidence import usual_levels
from detector.live.known_levels import at_known_levels
from detector.model.interface import Levels
from testkit.fakes import score_of

LEVELS = Levels(np.array([[10.0, 15.0, 0.0]], np.float32), np.array([[0.5, 0.7, 0.0]], np.float32))


@pytest.mark.parametrize(
    ("values", "usual"),
    [
        ([10.1] * 60 + [15.2] * 20, True),
        ([10.1] * 30 + [12.5] + [15.2] * 30 + [10.0] * 19, True),  # back again, with a slot on the way
        ([10.1] * 70 + [12.5] * 10, False),  # at none
        ([10.1] * 79 + [12.5], False),  # it has just left
        ([10.1, 15.2] * 40, False),  # to and fro
        ([0.0] * 80, False),  # fills the table, and is no level
        ([10.1] * 40 + [float("nan")] * 20 + [15.0] * 20, True),
        ([float("nan")] * 80, False),
    ],
)
def test_a_leap_between_known_levels_is_usual(values: list[float], usual: bool) -> None:
    assert bool(at_known_levels(np.array(values)[:, None], LEVELS)[0]) is usual


@given(st.permutations([10.0] * 6 + [15.0] * 6), st.integers(0, 11))
def test_only_the_newest_changes_and_levels_matter(values: list[float], at: int) -> None:
    window_SC = np.array(values)[:, None]
    changes = int((np.diff(window_SC[:, 0]) != 0).sum())
    assert bool(at_known_levels(window_SC, LEVELS)[0]) is (changes <= 2)
    window_SC[at] = 99.0
    assert not at_known_levels(window_SC, LEVELS)[0]  # one in twelve is more than a slot on the way


def test_every_channel_that_is_loud_must_be_where_it_has_been() -> None:
    levels = Levels(*(np.repeat(part, 3, 0) for part in LEVELS))
    window_SC = np.full((80, 3), 10.1, np.float32)
    window_SC[-10:, :2] = 15.0
    score = score_of("a", window_SC[-1:])
    assert not usual_levels(score, 0, window_SC)  # no levels are known of it
    score.levels = levels
    assert usual_levels(score, 0, window_SC)
    window_SC[-10:, 2] = 11.0
    assert usual_levels(score, 0, window_SC)  # it says little
    window_SC[-10:, 2] = 30.0
    score = score_of("a", window_SC[-1:])
    score.levels = levels
    assert not usual_levels(score, 0, window_SC)
