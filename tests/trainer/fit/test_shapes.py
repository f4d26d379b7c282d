"""Shape memories: coverage of the medoids, evidence from injected anomalies, and what it decides."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.model.views import shape_windows, shapes
from trainer.fit.ground import PAD
from trainer.fit.medoids import k_center
from trainer.fit.shapes import FULL, ShapeFit, fit_shapes
from trainer.inject.drawn import EACH, inject
from trainer.inject.kinds import DRAWN
from trainer.inject.splice import pieces


def _ecg(slots: int, seed: int = 0) -> torch.Tensor:
    """A pulse every 60 slots with a little noise: shapes matter here."""
    rng = np.random.default_rng(seed)
    phase = np.arange(slots) % 60
    pulse = np.exp(-(((phase - 20) / 3.0) ** 2)) - 0.4 * np.exp(-(((phase - 32) / 6.0) ** 2))
    return torch.from_numpy(pulse + 0.02 * rng.normal(size=slots))[None]


@given(st.integers(2, 40), st.integers(1, 60), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_medoids_cover_the_windows(many: int, count: int, seed: int) -> None:
    window_RNT = torch.randn(2, many, shape_windows.POINTS, generator=torch.Generator().manual_seed(seed))
    index_RP = k_center(window_RNT, count)
    assert index_RP.shape == (2, count)
    if count >= many:
        assert all(set(row.tolist()) == set(range(many)) for row in index_RP)
    far = (
        torch.cdist(window_RNT, window_RNT.gather(1, index_RP[..., None].expand(-1, -1, shape_windows.POINTS)))
        .amin(-1)
        .amax(1)
    )
    fewer = k_center(window_RNT, max(1, count // 2))
    before = (
        torch.cdist(window_RNT, window_RNT.gather(1, fewer[..., None].expand(-1, -1, shape_windows.POINTS)))
        .amin(-1)
        .amax(1)
    )
    assert (far <= before + 0.05).all()  # the product form of a distance is exact to a few hundredths


def test_injected_anomalies_change_only_their_own_slots() -> None:
    x_RL = torch.cat([_ecg(2000), _ecg(2000, 1) * 2])
    found = inject(x_RL, torch.tensor([60.0, 60.0]), torch.tensor([0, 0]))
    assert found.onset_RA.shape[1] == EACH * len(DRAWN) == 84
    piece_BN = pieces(x_RL, found, PAD)
    changed = 0
    for a in range(84):
        start, length = int(found.onset_RA[0, a]) - PAD, int(found.length_RA[0, a])
        at_N = torch.arange(piece_BN.shape[1]) + start
        known_N = (at_N >= 0) & (at_N < 2000)
        assert (torch.isnan(piece_BN[a]) == ~known_N).all()
        differs_N = known_N & ((piece_BN[a] - x_RL[0, at_N.clamp(0, 1999)]).abs() > 1e-9)
        changed += bool(differs_N.any())
        where = differs_N.nonzero().flatten()
        assert len(where) == 0 or (int(where.min()) >= PAD and int(where.max()) < PAD + length)
    assert changed >= 80


@pytest.mark.slow(1)
def test_a_stream_of_shapes_has_more_evidence_than_noise() -> None:
    generator = torch.Generator().manual_seed(0)
    white = torch.randn(1, 4000, generator=generator).double()
    found = fit_shapes(torch.cat([_ecg(4000), white, white.cumsum(1) * 0.1]), 6, 64)
    assert found.fitted_X.tolist()[0] == 0
    assert found.evidence_R[0] > FULL
    assert found.evidence_R[0] > 1.5 * found.evidence_R[1:].max()
    torch.testing.assert_close(found.rows["shape.weight"].sum(1), torch.ones(len(found.fitted_X)))


def test_a_short_or_empty_history_has_no_memory() -> None:
    empty = torch.full((1, 512), torch.nan, dtype=torch.float64)
    short = empty.clone()
    short[:, -100:] = _ecg(100)
    assert fit_shapes(torch.cat([empty, short]), 6, 64).fitted_X.tolist() == []


def test_a_missing_beat_stands_out() -> None:
    x_RL = _ecg(6000)
    found = fit_shapes(x_RL[:, :4000], 12, 128)
    medoid_RVTP = shape_windows.memory(x_RL[:, :4000], found.rows)
    rows = found.rows | {"shape.medoid": medoid_RVTP, "shape.norm": medoid_RVTP.square().sum(-2)}
    x_RL[:, 5000:5040] = x_RL[:, 5000:5040].mean()
    score_K = shapes.score(x_RL, rows, torch.arange(len(x_RL)), 1900).fused_RK[0]
    peak = 6000 - 1900 + int(score_K.argmax())
    assert 5000 <= peak <= 5040 + shapes.REACH
    assert score_K.max() > 3 * score_K[:500].max()


def _scores(x_RL: torch.Tensor, found: ShapeFit, history_RL: torch.Tensor, count: int) -> torch.Tensor:
    medoid_RVTP = shape_windows.memory(history_RL, found.rows)
    rows = found.rows | {"shape.medoid": medoid_RVTP, "shape.norm": medoid_RVTP.square().sum(-2)}
    return shapes.score(x_RL, rows, torch.arange(len(x_RL)), count).fused_RK[0]


def test_a_program_of_before_is_remembered_and_excuses_nothing_else() -> None:
    """A machine that ran another program a week ago: its cycles are normal, a beat that is missing now is not."""
    other = torch.sin(torch.arange(2 * 536) / 7.0).double()[None] * 0.8
    other = other + 0.02 * torch.randn(other.shape, generator=torch.Generator().manual_seed(1))
    past_RX, now_RL = other.clone(), _ecg(4000)
    past_RX[:, 512:536] = past_RX[:, -24:] = torch.nan
    with_it = fit_shapes(now_RL, 12, 128, past_RX=past_RX)
    without = fit_shapes(now_RL, 12, 128)
    assert with_it.fitted_X.tolist() == without.fitted_X.tolist() == [0]
    again = torch.cat([now_RL[:, -1000:], other[:, :1000]], 1)
    known, new = _scores(again, with_it, torch.cat([past_RX, now_RL], 1), 400), _scores(again, without, now_RL, 400)
    assert known.max() < 0.3 * new.max()
    gone = _ecg(2000, seed=3)
    gone[:, 1500:1540] = gone[:, 1500:1540].mean()
    for found, history_RL in ((with_it, torch.cat([past_RX, now_RL], 1)), (without, now_RL)):
        score_K = _scores(gone, found, history_RL, 1000)
        assert 1500 <= 1000 + int(score_K.argmax()) <= 1540 + shapes.REACH
        assert score_K.max() > 3 * score_K[:400].max()


def test_a_row_without_a_past_is_fitted_as_if_alone() -> None:
    """Whatever stands beside it."""
    both_RL = torch.cat([_ecg(4000), _ecg(4000, seed=1)])
    past_RX = torch.full((2, 536), torch.nan, dtype=torch.float64)
    past_RX[0, :512] = torch.sin(torch.arange(512) / 7.0)
    beside, alone = fit_shapes(both_RL, 6, 64, past_RX=past_RX), fit_shapes(both_RL[1:], 6, 64)
    torch.testing.assert_close(beside.rows["shape.ends"][1], alone.rows["shape.ends"][0] + 536)
    torch.testing.assert_close(beside.rows["shape.own"][1], alone.rows["shape.own"][0])
    torch.testing.assert_close(beside.rows["shape.cal"][1], alone.rows["shape.cal"][0])
    assert (beside.rows["shape.ends"][0] < 536).any()


def test_a_past_that_is_like_the_ring_changes_nothing() -> None:
    past_RX = torch.full((1, 536), torch.nan, dtype=torch.float64)
    past_RX[0, :512] = _ecg(512, seed=2)[0]
    with_it, without = fit_shapes(_ecg(4000), 6, 64, past_RX=past_RX), fit_shapes(_ecg(4000), 6, 64)
    torch.testing.assert_close(with_it.rows["shape.ends"], without.rows["shape.ends"] + 536)
    torch.testing.assert_close(with_it.rows["shape.cal"], without.rows["shape.cal"])
