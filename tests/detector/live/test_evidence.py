"""What an event reports of a slot."""

from dataclasses import replace

import numpy as np
import pytest

from detector.live.evidence import BAND, evidence_at, far_at, here_of
from detector.model.interface import SegmentScore
from detector.persistence import COLUMNS
from testkit.fakes import score_of


def seasonal(values_KC: np.ndarray, surprise: float, band: tuple[float, float, float]) -> SegmentScore:
    """A score whose season says so much of the first channel, and expects the middle of a band there."""
    season_KS = np.zeros((1, COLUMNS), np.float32)
    season_KS[0, 0] = surprise
    expected, low, high = (np.array([bound], np.float32) for bound in band)
    return replace(
        score_of("a", values_KC), season_KS=season_KS, season_channel_K=np.array([0], np.int16),
        season_expected_K=expected, season_low_K=low, season_high_K=high,
    )  # fmt: skip


@pytest.mark.parametrize(("surprise", "band"), [(BAND, (80.0, 70.0, 90.0)), (BAND - 0.1, (10.0, 9.0, 11.0))])
def test_a_channel_that_the_season_finds_is_told_by_the_season_s_band(
    surprise: float, band: tuple[float, float, float]
) -> None:
    values_KC = np.array([[16.0, 13.0]], np.float32)
    score = seasonal(values_KC, surprise, band)
    found = evidence_at(score, 0, ["seasonal", "other"], values_KC[0], "v1", (-1, -1))
    bands = {each["channel"]: (each["expected"], each["low"], each["high"]) for each in found["channels"]}
    assert bands == {"seasonal": band, "other": (10.0, 9.0, 11.0)}


@pytest.mark.parametrize(
    ("value", "band", "reach"), [(91.0, (20.0, 0.0, 163.0), 0.0), (191.0, (10.0, 9.0, 11.0), 90.0)]
)
def test_what_is_usual_at_this_time_is_not_told_as_a_departure(
    value: float, band: tuple[float, float, float], reach: float
) -> None:
    # Windows of the students contain the hour in which a job was missing: its next run lies far above what they expect.
    values_KC = np.array([[value]], np.float32)
    score = seasonal(values_KC, 1.0, (20.0, 0.0, 163.0))
    told = here_of(score, 0, 7, ["value"], values_KC[0])
    assert (told["expected"], told["low"], told["high"], told["reach"]) == (*band, reach)
    [channel] = evidence_at(score, 0, ["value"], values_KC[0], "v1", (-1, -1))["channels"]
    assert (channel["low"], channel["high"]) == band[1:]
    away = far_at(score, 0, values_KC[0])  # which incidents go by
    assert (away.reach, away.off is not None) == ((value - 11.0) / 2, True)
    assert away.grave == (away.reach if reach else 0.0)  # as for how bad they are


def test_a_season_without_bounds_calls_nothing_usual() -> None:
    values_KC = np.array([[91.0]], np.float32)
    away = far_at(seasonal(values_KC, 1.0, (20.0, -np.inf, np.inf)), 0, values_KC[0])
    assert away.grave == away.reach == 40.0


def test_what_has_fallen_to_nothing_is_as_bad_as_it_is_where_that_is_usual_too() -> None:
    values_KC = np.array([[0.4]], np.float32)
    away = far_at(seasonal(values_KC, 1.0, (20.0, 0.0, 163.0)), 0, values_KC[0])
    assert away.grave == away.reach > 3.0
