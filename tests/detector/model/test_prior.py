"""The generic prior: calm on what streams usually do, awake to what none does, the same however it is called."""

from pathlib import Path

import numpy as np
import pytest
import torch

from detector.incidents.machine import Rules
from detector.live.evidence import evidence_at
from detector.model import prior
from detector.model.banks import StudentBank
from detector.model.interface import Segment, SegmentScore
from testkit.simulation import KINDS, openings, simulate

RULES = Rules(threshold=4.0)  # one false alert expected in 10 000 slots
SLOTS = 2500
CPU = torch.device("cpu")


def _score(values: np.ndarray, count: int | None = None) -> SegmentScore:
    """Scores of a young stream: all of its slots unless a count is given."""
    values_SC = values.astype(np.float32).reshape(len(values), -1)
    [found] = prior.score([Segment("s", values_SC, len(values) if count is None else count)], CPU)
    return found


def _alerts(surprise_K: np.ndarray) -> list[int]:
    return openings(surprise_K, RULES)


def _noise(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=count)


@pytest.mark.slow(2)
def test_calm_on_what_streams_usually_do() -> None:
    rates = {
        kind: np.mean([len(_alerts(_score(simulate(kind, seed, SLOTS)).surprise_K)) for seed in range(4)])
        for kind in KINDS
    }
    slots = 1e4 / SLOTS
    assert slots * np.mean(list(rates.values())) <= 2.0, rates
    # What has never been seen is news once: jumps to a level and bursts of a size that come for the first time.
    assert max(rates[kind] for kind in KINDS if kind not in ("step", "bursty", "rare")) * slots <= 2.0, rates


@pytest.mark.parametrize("after", [66, 200, 1500])
@pytest.mark.parametrize("size", [10.0, -12.0, 1000.0])
def test_a_jump_alerts_wherever_it_comes(after: int, size: float) -> None:
    values = _noise(after + 30, seed=after)
    values[after:] += size
    assert [slot for slot in _alerts(_score(values).surprise_K) if after <= slot <= after + 8]


def test_a_flat_line_that_jumps_alerts_and_no_score_is_a_thousand_sigma() -> None:
    values = np.where(np.arange(100) < 66, 5.0, 6.0)
    found = _score(values)
    assert (found.surprise_K[:66] == 0).all()
    assert _alerts(found.surprise_K) == [67]
    assert found.surprise_K.max() < 6
    assert _score(values * 1e9).surprise_K.max() < 6


def test_one_slot_that_is_over_is_no_incident() -> None:
    values = np.zeros(400)
    values[[200, 300]] = 7.0
    assert _alerts(_score(values).surprise_K) == []


def test_rounding_and_counts_are_not_news() -> None:
    rng = np.random.default_rng(3)
    assert _alerts(_score(1e6 + 0.0625 * rng.integers(0, 2, size=1500)).surprise_K) == []  # the last bit of float32
    assert _alerts(_score(rng.poisson(0.05, size=1500)).surprise_K) == []
    assert _score(np.full(500, 7.0)).surprise_K.max() == 0


def test_the_first_slots_say_nothing() -> None:
    values = 1000.0 * _noise(40)
    found = _score(values)
    assert (found.surprise_K[: prior.LEAST] == 0).all()
    assert np.isfinite(found.surprise_K).all()


def test_gaps_are_no_evidence_and_a_long_one_is_survived() -> None:
    values = _noise(900)
    values[[100, 101, 350]] = np.nan
    values[400:700] = np.nan
    found = _score(values)
    np.testing.assert_array_equal(np.isnan(found.surprise_K), np.isnan(values))
    assert _alerts(found.surprise_K) == []
    assert np.isnan(_score(np.full(50, np.nan)).surprise_K).all()


@pytest.mark.parametrize("kind", ["wave", "bursty", "integer", "walk"])
def test_scores_do_not_depend_on_how_calls_are_cut(kind: str) -> None:
    values = simulate(kind, 5, 1300)
    values[700:705] = np.nan
    whole = _score(values)
    young = [values[: at + 1] for at in (3, 40, 200, 702, 703, 1023, 1024, 1299)]
    ones = prior.score([Segment("s", part[-prior.REACH :], 1) for part in young], CPU)
    for part, one in zip(young, ones, strict=True):
        k = len(part) - 1
        for name in ("surprise_K", "channel_KC", "expected_KC", "low_KC", "deviation_KC", "view_KC"):
            np.testing.assert_array_equal(getattr(one, name)[0], getattr(whole, name)[k], err_msg=f"{name} at {k}")
    pieces = [_score(values[:at], size).surprise_K for at, size in ((5, 5), (600, 595), (601, 1), (1300, 699))]
    np.testing.assert_array_equal(np.concatenate(pieces), whole.surprise_K)


def test_channels_join_as_those_of_students_do() -> None:
    values = np.stack([_noise(300, seed) for seed in range(12)], 1)
    calm = _score(values)
    assert _alerts(calm.surprise_K) == []
    values[200:, 7] += 60.0
    found = _score(values)
    assert found.surprise_K.shape == (300,)
    assert found.channel_KC[203].argmax() == 7
    lost = found.channel_KC[203, 7] - found.surprise_K[203]
    assert 0 < lost <= np.log10(12) + 1e-4
    values[:, 3] = np.nan
    assert np.isnan(_score(values).channel_KC[:, 3]).all()
    assert np.isfinite(_score(values).surprise_K).all()


def test_streams_of_any_width_come_back_in_order(tmp_path: Path) -> None:
    bank = StudentBank()
    given = [simulate("wave", 1, 90), np.concatenate([simulate("white", s, 300) for s in (1, 2)], 1), np.zeros((5, 1))]
    segments = [
        Segment(f"s{i}", v.astype(np.float32), n) for i, (v, n) in enumerate(zip(given, (3, 70, 0), strict=True))
    ]
    found = bank.score(segments)
    assert [(s.stream, s.version, s.warming) for s in found] == [(f"s{i}", None, True) for i in range(3)]
    assert [s.channel_KC.shape for s in found] == [(3, 1), (70, 2), (0, 1)]
    for segment, score in zip(segments, found, strict=True):
        np.testing.assert_array_equal(bank.score([segment])[0].surprise_K, score.surprise_K)


def test_an_alert_explains_itself() -> None:
    values = 100.0 + _noise(300)
    values[250:] += 40.0
    found = _score(values)
    reason = evidence_at(found, 252, ["value"], values[252:253], None, (-1, -1))
    [channel] = reason["channels"]
    assert channel["value"] > 130
    assert 98 < channel["expected"] < 102
    assert 95 < channel["low"] < channel["expected"] < channel["high"] < 105
    assert (reason["model"], reason["warming"], reason["nearest"], reason["teacher"]) == (None, True, None, False)
    assert reason["view"] in ("level", "step")
    assert reason["deviation"] == pytest.approx(channel["value"] - channel["expected"], abs=1e-3)
