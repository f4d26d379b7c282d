"""What an event reports of a slot."""

from dataclasses import replace

import numpy as np
import pytest

from detector.live.evidence import BAND, evidence_at
from detector.persistence import COLUMNS
from testkit.fakes import score_of


@pytest.mark.parametrize(("surprise", "band"), [(BAND, (80.0, 70.0, 90.0)), (BAND - 0.1, (10.0, 9.0, 11.0))])
def test_a_channel_that_the_season_finds_is_told_by_the_season_s_band(
    surprise: float, band: tuple[float, float, float]
) -> None:
    values_KC = np.array([[16.0, 13.0]], np.float32)
    season_KS = np.zeros((1, COLUMNS), np.float32)
    season_KS[0, 0] = surprise
    expected, low, high = (np.array([bound], np.float32) for bound in band)
    score = replace(
        score_of("a", values_KC), season_KS=season_KS, season_channel_K=np.array([0], np.int16),
        season_expected_K=expected, season_low_K=low, season_high_K=high,
    )  # fmt: skip
    found = evidence_at(score, 0, ["seasonal", "other"], values_KC[0], "v1", (-1, -1))
    bands = {each["channel"]: (each["expected"], each["low"], each["high"]) for each in found["channels"]}
    assert bands == {"seasonal": band, "other": (10.0, 9.0, 11.0)}
