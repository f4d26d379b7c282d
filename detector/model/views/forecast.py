"""The forecast view: what a trimmed ridge regression on the recent and the seasonal past does not explain.

Shapes: R rows (stream, channel), L slots, K scored slots, N slots fitted on, F features, X slots looked back at
"""

import torch
from torch import Tensor

from detector.model.periods import PERIOD_MIN
from detector.model.pooling import moving_mean
from detector.model.row_types import Rows
from detector.model.views.plain import TRIM

MEANS = (32, 128)  # slots of the moving means among the features: where the level is
SEASONAL = 6
_SMOOTH = 8  # slots of the smoothed value four slots before its season: where the daily shape is going
_AHEAD = 4
_RIDGE = 1e-3  # of the number of samples: standardised features have a mean square of about 1
# Later slots know the present better; 16 384 of them determine 25 coefficients well.
_SLOTS = 16384
# Of the slots around one season before a slot: so many after it, and so many in all beside those being scored.
SEASON_AFTER, SEASON_SPAN = _AHEAD, 15


class Forecast:
    """|x[t] − forecast| from values at least `ahead` slots old: a longer lead is not led astray by an anomaly's start."""

    def __init__(self, ahead: int, lags: int) -> None:
        self.name = f"forecast{ahead}"
        self.word = "forecast"
        self.slots = ahead + lags - 1
        self.ahead = ahead
        self.lags = lags
        self.reach = ahead + max(lags, *MEANS)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Coefficients: lags, moving means, season, constant."""
        return {f"{self.name}.coefficient": (self.lags + len(MEANS) + SEASONAL + 1,)}

    def fit(self, x_RL: Tensor, within_RL: Tensor, rows: Rows) -> Rows:
        """Three rounds, the later ones without the slots that were forecast worst."""
        count = min(x_RL.shape[1] - 1, _SLOTS)
        feature_RNF, there_RN = self._features(x_RL, rows, count)
        target_RN = x_RL[:, -count:].float()
        valid_RN = there_RN & torch.isfinite(target_RN) & within_RL[:, -count:]
        target_RN = torch.where(valid_RN, target_RN, 0.0)
        feature_RNF = torch.where(valid_RN[..., None], feature_RNF, 0.0)
        eye_FF = torch.eye(feature_RNF.shape[-1], device=x_RL.device, dtype=torch.float64)
        keep_RN = valid_RN
        for _ in range(3):
            kept_RNF = feature_RNF * keep_RN[..., None]
            many_R = keep_RN.sum(-1).clamp_min(1).double()
            gram_RFF = (kept_RNF.mT @ feature_RNF).double() + (_RIDGE * many_R)[:, None, None] * eye_FF
            moment_RF1 = (kept_RNF.mT @ target_RN[..., None]).double()
            coefficient_RF = torch.linalg.solve(gram_RFF, moment_RF1)[..., 0].float()
            off_RN = (target_RN - (feature_RNF @ coefficient_RF[..., None])[..., 0]).abs()
            worst_R = torch.nanquantile(torch.where(valid_RN, off_RN, torch.nan), 1 - TRIM, dim=-1)
            keep_RN = valid_RN & (off_RN <= torch.nan_to_num(worst_R)[:, None])
        return {f"{self.name}.coefficient": coefficient_RF}

    def score(self, x_RL: Tensor, rows: Rows, count: int) -> Tensor:
        """Absolute residual (R, K)."""
        return (x_RL[:, -count:].float() - self.expect(x_RL, rows, count)).abs()

    def expect(self, x_RL: Tensor, rows: Rows, count: int) -> Tensor:
        """The forecast (R, K), standardised like the rows."""
        feature_RKF, there_RK = self._features(x_RL, rows, count)
        forecast_RK = (feature_RKF @ rows[f"{self.name}.coefficient"][..., None])[..., 0]
        return torch.where(there_RK, forecast_RK, torch.nan)

    def _features(self, x_RL: Tensor, rows: Rows, count: int) -> tuple[Tensor, Tensor]:
        """Features (R, K, F) of the last `count` slots, and whether all of a slot's features are there (R, K)."""
        gap_RL = torch.isnan(x_RL)
        whole = not bool(gap_RL.any())
        length = x_RL.shape[1]
        there_RL = x_RL if whole else torch.where(gap_RL, 0.0, x_RL)
        past = self.ahead + self.lags - 1
        padded_RX = torch.nn.functional.pad(
            there_RL[:, max(0, length - count - past) :], (max(0, count + past - length), 0)
        )
        columns = [padded_RX[:, : count + self.lags - 1].float().unfold(1, self.lags, 1)]
        columns += [_mean_before(there_RL, slots, self.ahead, count)[..., None] for slots in MEANS]
        before_RX, twice_RK = season(there_RL, rows, count)
        mean_RX = moving_mean(before_RX, _SMOOTH).float()
        seasonal_R1 = (rows["period"] > 0)[:, None]
        near = SEASON_SPAN - SEASON_AFTER  # where the value one season ago begins
        seasonal_6RK = (
            before_RX[:, near + 1 : near + 1 + count],
            before_RX[:, near : near + count],
            before_RX[:, near - 1 : near - 1 + count],
            mean_RX[:, _SMOOTH : _SMOOTH + count],
            mean_RX[:, _SMOOTH - self.ahead : _SMOOTH - self.ahead + count],
            twice_RK,
        )
        columns += [(value_RK.float() * seasonal_R1)[..., None] for value_RK in seasonal_6RK]
        columns.append(torch.ones_like(columns[-1]))
        ends_K = torch.arange(length - count, length, device=x_RL.device)
        from_R1 = torch.full_like(gap_RL[:, :1], past, dtype=torch.long)
        if "season.once" not in rows:  # a history: what it begins with has no past of its own
            first_R1 = (~gap_RL).long().argmax(1, keepdim=True)
            seasons_R1 = 2 * rows["period"].long()[:, None]
            from_R1 = first_R1 + seasons_R1.clamp_min(past)
        there_RK = ends_K >= from_R1
        if "begin" in rows:  # of a history in pieces: neither has what every later one begins with
            begin_RK = rows["begin"][:, -count:]
            there_RK &= (begin_RK == 0) | (ends_K >= begin_RK + seasons_R1.clamp_min(self.reach))
        return torch.cat(columns, -1), there_RK if whole else there_RK & ~self._gaps(gap_RL, count)

    def _gaps(self, gap_RL: Tensor, count: int) -> Tensor:
        """True at slots (R, K) whose lags have a gap. A gap a season ago counts as the centre."""
        past = self.ahead + self.lags - 1
        gaps_RX = torch.nn.functional.pad(gap_RL.double(), (past, 0), value=1.0)
        length = gap_RL.shape[1]
        return moving_mean(gaps_RX, self.lags)[:, length - count : length] > 0.5 / self.lags


def season(x_RL: Tensor, rows: Rows, count: int) -> tuple[Tensor, Tensor]:
    """Values around one season before the last `count` slots (R, K + SEASON_SPAN), and two seasons before them (R, K).

    `rows` may bring them ("season.once", "season.twice"; gaps are the centre): then the rows need not be as long.
    """
    if "season.once" in rows:
        once_RX, twice_RK = (rows[f"season.{name}"].nan_to_num(nan=0.0) for name in ("once", "twice"))
        return once_RX, twice_RK
    length = x_RL.shape[1]
    p_R = torch.where(rows["period"] > 0, rows["period"], PERIOD_MIN).long()
    once_X = torch.arange(length - count - SEASON_SPAN + SEASON_AFTER, length + SEASON_AFTER, device=x_RL.device)
    twice_K = torch.arange(length - count, length, device=x_RL.device)
    once_RX = x_RL.gather(1, (once_X - p_R[:, None]).clamp(0, length - 1))
    return once_RX, x_RL.gather(1, (twice_K - 2 * p_R[:, None]).clamp_min(0))


def _mean_before(x_RL: Tensor, slots: int, back: int, count: int) -> Tensor:
    """Moving mean over `slots` slots up to `back` slots before each of the last `count` (R, K).

    At the start over those there are; before the first slot: the first.
    """
    length = x_RL.shape[1]
    first = max(0, length - count - back - slots)
    total_RX = torch.nn.functional.pad(x_RL[:, first:].double().cumsum(1), (1, 0))
    end_K = torch.arange(length - count - back, length - back, device=x_RL.device).clamp_min(0) - first + 1
    begin_K = (end_K - slots).clamp_min(0)
    return ((total_RX[:, end_K] - total_RX[:, begin_K]) / (end_K - begin_K)).float()
