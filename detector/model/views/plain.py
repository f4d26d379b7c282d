"""The contract of a view, and the views that need no prototypes: spread, change and Mahalanobis distance.

A view turns the window that ends at a slot into one number, its discrepancy from normal. It is fitted on a stack of
rows and scores a stack of rows; what it has learnt is tensors, so that students of any number of streams are one.

Shapes: R rows (stream, channel), L slots, K scored slots (the last of L), X slots looked back at,
M windows fitted on, W slots of a window
"""

from typing import Protocol

import torch
from torch import Tensor

from detector.model.pooling import moving_mean
from detector.model.row_types import Rows
from detector.model.window_ends import choose, whole

# Histories hold anomalies nobody has marked: the worst 2 % of the windows teach nothing.
TRIM = 0.02
# Windows that a fit uses, at most: the covariance of 64 numbers is known well from 4 000 windows.
_WINDOWS = 4096
_RIDGE = 1e-4  # smallest variance of any direction, in variances of the row: quantised rows have directions without


class PlainView(Protocol):
    """One view of a row, of one number a slot."""

    name: str
    word: str  # what it is called in an alert
    slots: int  # of its window, as an alert names it
    reach: int  # slots, up to and including the scored one, that the view depends on (of rows without a period)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name → shape without the leading R of what the view learns."""
        ...

    def fit(self, x_RL: Tensor, within_RL: Tensor, rows: Rows) -> Rows:
        """Learn from the windows that end at slots where `within_RL` is True; `rows` has the row's period."""
        ...

    def score(self, x_RL: Tensor, rows: Rows, count: int) -> Tensor:
        """Discrepancy (R, K) at the last `count` slots of prepared rows; NaN where the window has a gap."""
        ...


class Unlearnt:
    """A view that learns nothing: calibration alone says what is normal of it."""

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Nothing is learnt."""
        return {}

    def fit(self, x_RL: Tensor, within_RL: Tensor, rows: Rows) -> Rows:
        """Nothing to learn."""
        return {}


class MovingStd(Unlearnt):
    """Standard deviation of the newest slots: dead or nervous sensors."""

    def __init__(self, window: int) -> None:
        self.name = f"std{window}"
        self.word = "spread"
        self.slots = self.reach = window

    def score(self, x_RL: Tensor, rows: Rows, count: int) -> Tensor:
        """Population standard deviation (R, K)."""
        x_RX = x_RL[:, -(count + self.reach - 1) :].double()
        # NaN would run on through cumulative sums; it is put back where a window holds one.
        gap_RX = torch.isnan(x_RX)
        x_RX = torch.where(gap_RX, 0.0, x_RX)
        mean_RK = moving_mean(x_RX, self.reach)
        square_RK = moving_mean(x_RX * x_RX, self.reach)
        std_RK = (square_RK - mean_RK * mean_RK).clamp_min(0.0).sqrt().float()
        if bool(gap_RX.any()):
            std_RK = torch.where(moving_mean(gap_RX.double(), self.reach) > 0.5 / self.reach, torch.nan, std_RK)
        return std_RK


class Difference(Unlearnt):
    """Size of the newest step."""

    name = word = "step"
    slots = reach = 2

    def score(self, x_RL: Tensor, rows: Rows, count: int) -> Tensor:
        """|x[t] − x[t − 1]| (R, K)."""
        return x_RL[:, -(count + 1) :].diff(dim=1).abs().float()


class Mahalanobis:
    """Distance of the newest slots from their mean, in units of their covariance: broken relations in time."""

    def __init__(self, window: int) -> None:
        self.name = f"mahalanobis{window}"
        self.word = "mahalanobis"
        self.slots = self.reach = window

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Mean window, and the inverse Cholesky factor of the covariance."""
        return {f"{self.name}.mean": (self.reach,), f"{self.name}.white": (self.reach, self.reach)}

    def fit(self, x_RL: Tensor, within_RL: Tensor, rows: Rows) -> Rows:
        """Twice: the second time without the windows that were farthest from the first."""
        able_RL = whole(x_RL, self.reach) & within_RL
        ends_RM, real_R = choose(able_RL, min(_WINDOWS, x_RL.shape[1])), able_RL.any(-1)
        offset_W = torch.arange(1 - self.reach, 1, device=x_RL.device)
        window_RMW = x_RL.gather(1, (ends_RM[..., None] + offset_W).clamp_min(0).flatten(1))
        window_RMW = window_RMW.reshape(*ends_RM.shape, self.reach)
        # float64: of a smooth row with a large swing the sum's rounding in float32 is as large as the ridge
        window_RMW = torch.where(real_R[:, None, None], window_RMW, 0.0).double()
        keep_RM = torch.ones_like(ends_RM, dtype=torch.bool)
        eye_WW = torch.eye(self.reach, dtype=torch.float64, device=x_RL.device)
        for _ in range(2):
            weight_RM1 = keep_RM.double()[..., None] / keep_RM.sum(-1).clamp_min(1)[:, None, None]
            mean_RW = (window_RMW * weight_RM1).sum(1)
            centred_RMW = window_RMW - mean_RW[:, None]
            cov_RWW = centred_RMW.mT @ (centred_RMW * weight_RM1)
            factor_RWW = torch.linalg.cholesky(cov_RWW + _RIDGE * eye_WW)
            white_RWW = torch.linalg.solve_triangular(factor_RWW, eye_WW.expand_as(factor_RWW), upper=False)
            square_RM = (centred_RMW @ white_RWW.mT).square().sum(-1)
            limit_R = square_RM.kthvalue(max(1, round(square_RM.shape[1] * (1 - TRIM))), -1).values
            keep_RM = square_RM <= limit_R[:, None]
        return {f"{self.name}.mean": mean_RW.float(), f"{self.name}.white": white_RWW.float()}

    def score(self, x_RL: Tensor, rows: Rows, count: int) -> Tensor:
        """Root of the mean square of the whitened window (R, K): about 1 on normal data."""
        window_RKW = x_RL[:, -(count + self.reach - 1) :].float().unfold(1, self.reach, 1)
        white_RKW = (window_RKW - rows[f"{self.name}.mean"][:, None]) @ rows[f"{self.name}.white"].mT
        return white_RKW.square().mean(-1).sqrt()
