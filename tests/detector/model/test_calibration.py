"""Surprises are tail probabilities."""

import numpy as np
import pytest
import torch

from detector.model import calibration


def _all(count: int, rows: int = 1) -> torch.Tensor:
    return torch.ones(rows, count, dtype=torch.bool)


@pytest.mark.parametrize("kind", ["normal", "exponential"])
def test_probability_of_a_surprise_is_what_it_says(kind: str) -> None:
    rng = np.random.default_rng(0)
    draw = getattr(rng, {"normal": "standard_normal", "exponential": "standard_exponential"}[kind])
    cal = calibration.fit(torch.tensor(draw((20, 4000))).abs().float(), _all(4000, 20), 0.01)
    new = calibration.surprise(torch.tensor(draw((20, 50_000))).abs().float(), cal[:, None])
    for level, slack in ((1.0, 1.1), (2.0, 1.5), (3.0, 3.0)):
        share = (new >= level).float().mean().item()
        assert 10.0**-level / (2 * slack) < share < 10.0**-level * slack


def test_surprise_rises_with_the_score_and_is_continuous() -> None:
    cal = calibration.fit(torch.rand(1, 500).square(), _all(500), 0.01)
    scores = torch.linspace(-0.5, 3.0, 4001)
    out = calibration.surprise(scores, cal)
    assert (out.diff() >= 0).all()
    assert out.diff().max() < 0.05
    assert out[0] == 0


def test_few_samples_make_a_more_cautious_tail() -> None:
    generator = torch.Generator().manual_seed(1)
    scores = torch.randn(200, 4096, generator=generator).abs()
    few = calibration.fit(scores[:, :64], _all(64, 200), 0.01)
    many = calibration.fit(scores, _all(4096, 200), 0.01)
    far = torch.full((200,), 8.0)
    assert calibration.surprise(far, few).mean() < calibration.surprise(far, many).mean()


def test_overlapping_samples_are_trusted_less() -> None:
    scores = torch.rand(1, 400)
    plain, cautious = (calibration.fit(scores, _all(400), 0.01, memory=m) for m in (1.0, 16.0))
    assert calibration.surprise(torch.tensor([3.0]), cautious) < calibration.surprise(torch.tensor([3.0]), plain)


def test_constant_scores_are_never_surprising_and_never_explode() -> None:
    cal = calibration.fit(torch.zeros(1, 300), _all(300), 0.05)
    assert calibration.surprise(torch.zeros(1), cal) <= calibration.BODY
    assert calibration.surprise(torch.tensor([1e6]), cal) <= calibration.CAP + 1


def test_too_few_samples_make_no_calibrator() -> None:
    valid = _all(100)
    valid[:, 20:] = False
    cal = calibration.fit(torch.rand(1, 100), valid, 0.01)
    assert torch.isnan(calibration.surprise(torch.tensor([1.0]), cal)).all()


def test_the_loudest_leave_absent_views_out_and_none_shouts_the_others_down() -> None:
    nan = torch.nan
    views = torch.tensor([[4.0, 1.0, nan, 2.0], [3.0, nan, nan, nan], [nan, nan, nan, nan], [90.0, 2.0, 1.0, nan]])
    out = calibration.loudest(views, 2)
    assert out[:2].tolist() == [3.0, 3.0]
    assert torch.isnan(out[2])
    assert out[3] == (calibration.CAP + 2.0) / 2


def test_exponential_with_no_samples_is_its_prior() -> None:
    cal = calibration.exponential(torch.zeros(1, 8), torch.zeros(1, 8, dtype=torch.bool), 1.0, 0.5, 10.0)
    assert calibration.surprise(torch.tensor([1.0]), cal) == 0
    assert calibration.surprise(torch.tensor([1.5]), cal).item() == pytest.approx(0.4343, abs=1e-3)
