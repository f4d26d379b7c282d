"""The contract that every view of the bank passes: causal, batched, its state plain tensors, gaps an honest NaN."""

from typing import Protocol

import pytest
import torch
from torch import Tensor

from detector.model.layout import PLAIN_VIEWS
from detector.model.periods import find_period, shape_period
from detector.model.row_types import Rows
from detector.model.views import shape_windows, shapes
from detector.model.views.prototypes import prototypes
from detector.model.window_ends import choose
from trainer.fit.prototypes import kmeans
from trainer.fit.shapes import fit_shapes

SLOTS = 3000
SCALE = 16
SEASON_MAX = 200


class Seen(Protocol):
    """A view under test."""

    reach: int

    def learn(self, x_RL: Tensor) -> Rows:
        """Fit a stack of rows."""
        ...

    def see(self, x_RL: Tensor, rows: Rows, count: int) -> Tensor:
        """Score the last `count` slots of a stack of rows."""
        ...


class OfLook:
    """One of `LOOKS`."""

    def __init__(self, index: int) -> None:
        self.look = PLAIN_VIEWS[index]
        self.reach = self.look.reach

    def learn(self, x_RL: Tensor) -> Rows:
        rows = {"period": torch.where(find_period(x_RL) < SEASON_MAX, find_period(x_RL), 0.0)}
        return rows | self.look.fit(x_RL, torch.ones_like(x_RL, dtype=torch.bool), rows)

    def see(self, x_RL: Tensor, rows: Rows, count: int) -> Tensor:
        return self.look.score(x_RL, rows, count)


class OfPrototypes:
    """Nearest prototype at one scale."""

    reach = SCALE

    def learn(self, x_RL: Tensor) -> Rows:
        window_RNT = x_RL.unfold(1, SCALE, 1).float()
        chosen_RN = choose(torch.isfinite(window_RNT).all(-1), 500)
        found = kmeans(torch.stack([w[i] for w, i in zip(window_RNT, chosen_RN, strict=True)]), 32, 4)
        return {f"proto.{SCALE}": found.proto_RPT, f"radius.{SCALE}": found.radius_RP}

    def see(self, x_RL: Tensor, rows: Rows, count: int) -> Tensor:
        return prototypes(x_RL, rows, SCALE, count)[0]


class OfShapes:
    """The shape memory."""

    reach = shapes.REACH

    def learn(self, x_RL: Tensor) -> Rows:
        found = fit_shapes(x_RL, 4, 32)
        assert found.fitted_X.tolist() == list(range(len(x_RL)))
        medoid_RVTP = shape_windows.memory(x_RL, found.rows)
        return found.rows | {"shape.medoid": medoid_RVTP, "shape.norm": medoid_RVTP.square().sum(-2)}

    def see(self, x_RL: Tensor, rows: Rows, count: int) -> Tensor:
        return shapes.score(x_RL, rows, torch.arange(len(x_RL)), count).fused_RK


VIEWS: dict[str, Seen] = {plain.name: OfLook(i) for i, plain in enumerate(PLAIN_VIEWS)}
VIEWS |= {"prototypes": OfPrototypes(), "shapes": OfShapes()}


def _waves(rows: int = 3, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    period_R1 = torch.tensor([24.0, 37.0, 52.0])[:rows, None]
    wave_RL = torch.sin(torch.arange(SLOTS) * 2 * torch.pi / period_R1)
    return (wave_RL + 0.05 * torch.randn(rows, SLOTS, generator=generator)).double()


@pytest.fixture(params=list(VIEWS))
def view(request: pytest.FixtureRequest) -> Seen:
    """Each view in turn."""
    return VIEWS[request.param]


def test_state_is_tensors_with_a_row_each(view: Seen) -> None:
    for name, value in view.learn(_waves()).items():
        assert value.shape[0] == 3, name
        assert torch.isfinite(value.double()).all(), name


def test_rows_of_a_stack_do_not_influence_each_other(view: Seen) -> None:
    x_RL = _waves()
    together = view.see(x_RL, view.learn(x_RL), 50)
    alone = view.see(x_RL[1:2], view.learn(x_RL[1:2]), 50)
    torch.testing.assert_close(together[1:2], alone, atol=1e-3, rtol=1e-3)


def test_a_score_looks_back_as_far_as_it_says_and_never_ahead(view: Seen) -> None:
    x_RL = _waves()
    rows = view.learn(x_RL)
    reach = max(view.reach, 2 * SEASON_MAX + 1)
    whole = view.see(x_RL, rows, 100)
    cut = view.see(x_RL[:, -(reach + 40 + 49) : -40], rows, 50)
    torch.testing.assert_close(whole[:, 10:60], cut, atol=1e-4, rtol=1e-3)


def test_what_is_normal_scores_low_and_what_is_not_high(view: Seen) -> None:
    x_RL = _waves()
    rows = view.learn(x_RL)
    normal = view.see(x_RL, rows, 500)
    odd_RL = x_RL.clone()
    odd_RL[:, -40:] = 3.0 * torch.randn(3, 40, generator=torch.Generator().manual_seed(3)).double()
    odd = view.see(odd_RL, rows, 40)
    assert (odd.nan_to_num().amax(1) > 2 * normal.nan_to_num().quantile(0.9, dim=1)).all()


def test_a_gap_inside_the_window_is_no_score(view: Seen) -> None:
    x_RL = _waves()
    rows = view.learn(x_RL)
    x_RL[:, -200:] = torch.nan
    assert torch.isnan(view.see(x_RL, rows, 10)).all()


def test_a_smooth_row_with_a_large_swing_can_be_learnt(view: Seen) -> None:
    slot_L = torch.arange(SLOTS).double()
    x_RL = torch.stack([80.0 * torch.sin(slot_L * (torch.pi / slots)) for slots in (300, 1000, 2900)])
    rows = view.learn(x_RL)
    assert all(torch.isfinite(value.double()).all() for value in rows.values())
    assert torch.isfinite(view.see(x_RL, rows, 100)).all()


def test_a_period_is_the_shortest_of_the_highest_peaks() -> None:
    x_RL = _waves()
    for period_R in (shape_period(x_RL), find_period(x_RL)):
        assert (period_R - torch.tensor([24.0, 37.0, 52.0])).abs().max() <= 1
    noise_RL = torch.randn(2, SLOTS, generator=torch.Generator().manual_seed(1)).double()
    assert (find_period(noise_RL) == 0).all()
