"""The period of a row: one autocorrelation, and three rules for the peak that is taken of it.

Shapes: R rows (stream, channel), L slots, X lags or phases
"""

import torch
from torch import Tensor

PERIOD_MIN = 16
PERIOD_MAX = 1440  # a day of minutes; two of them are the context that such a row needs
_PERIOD_FROM = 16384  # newest slots that the period is looked for in
_PEAK = 0.1  # smallest autocorrelation of a period
_STRONG = 0.3  # share of the variance that the periodic mean must explain
_TIMES = 5  # periods in the history: in its first half must be slots with two seasons before them
SHAPE_PERIOD_MIN, SHAPE_PERIOD_MAX = 10, 1000
SHAPE_PERIOD = 100.0
_SHAPE_TIMES = 3  # periods in the history
# Of peaks nearly as high as the highest the first is meant: its multiples add nothing, and need longer histories.
_NEARLY = 0.9


def find_period(x_RL: Tensor) -> Tensor:
    """Slots of each row's season (R), 0 where it has none that explains enough.

    First of the highest peaks of the autocorrelation between PERIOD_MIN and PERIOD_MAX slots, taken when the history
    holds it five times and the mean of its phases explains 30 % of the variance.
    """
    x_RL = x_RL[:, -_PERIOD_FROM:]
    height_RX = _peaks(x_RL, PERIOD_MIN, PERIOD_MAX, _TIMES)
    if not height_RX.shape[1]:
        return torch.zeros(len(x_RL), device=x_RL.device)
    top_R, first_R = _first_of_the_highest(height_RX)
    period_R = torch.where(top_R > _PEAK, first_R + PERIOD_MIN, 0)
    return torch.where(_strength(x_RL, period_R) > _STRONG, period_R, 0).float()


def shape_period(x_RL: Tensor) -> Tensor:
    """Slots of each row's shortest cycle (R), for the widths of shapes; SHAPE_PERIOD where there is no peak.

    The first of the highest peaks of the autocorrelation.
    """
    x_RL = x_RL[:, -_PERIOD_FROM:]
    height_RX = _peaks(x_RL, SHAPE_PERIOD_MIN, SHAPE_PERIOD_MAX, _SHAPE_TIMES)
    if not height_RX.shape[1]:
        return torch.full((len(x_RL),), SHAPE_PERIOD, device=x_RL.device)
    top_R, first_R = _first_of_the_highest(height_RX)
    return torch.where(top_R > 0, first_R + SHAPE_PERIOD_MIN, SHAPE_PERIOD).float()


def autocorrelation(x_RL: Tensor, most: int) -> Tensor:
    """Autocorrelation (R, most + 1) at lags 0 to `most`, 1 at lag 0; each is the mean over the pairs that are there.

    0 everywhere in rows that are constant or empty.
    """
    there_RL = torch.isfinite(x_RL)
    mean_R = torch.where(there_RL, x_RL, 0.0).sum(-1) / there_RL.sum(-1).clamp_min(1)
    y_RL = torch.where(there_RL, x_RL - mean_R[:, None], 0.0).double()
    size = 1 << (2 * x_RL.shape[1] - 1).bit_length()

    def correlate(z_RL: Tensor) -> Tensor:
        found: Tensor = torch.fft.irfft(torch.fft.rfft(z_RL, n=size, dim=1).abs().square(), dim=1)[:, : most + 1]
        return found

    correlation_RX = correlate(y_RL) / correlate(there_RL.double()).clamp_min(1.0)
    return correlation_RX / correlation_RX[:, :1].clamp_min(1e-12)


def _first_of_the_highest(height_RX: Tensor) -> tuple[Tensor, Tensor]:
    """Height of the highest peak (R), and the place of the first that is nearly as high."""
    top_R1 = height_RX.amax(1, keepdim=True)
    return top_R1[:, 0], ((height_RX >= _NEARLY * top_R1) & (height_RX > 0)).long().argmax(1)


def _peaks(x_RL: Tensor, low: int, high: int, times: int) -> Tensor:
    """Autocorrelation at its local maxima between lags `low` and `high` (R, X), −1 elsewhere; of each row only lags that
    its history holds `times` times."""
    high = min(high, x_RL.shape[1] // times)
    if high <= low + 1:
        return torch.zeros(len(x_RL), 0, device=x_RL.device)
    correlation_RX = autocorrelation(x_RL, high + 1)
    inner_RX = correlation_RX[:, low : high + 1]
    is_peak_RX = (inner_RX >= correlation_RX[:, low - 1 : high]) & (inner_RX >= correlation_RX[:, low + 1 : high + 2])
    slots_R1 = x_RL.shape[1] - torch.isfinite(x_RL).long().argmax(1, keepdim=True)  # histories are padded on the left
    held_RX = torch.arange(low, high + 1, device=x_RL.device) * times <= slots_R1
    return torch.where(is_peak_RX & held_RX, inner_RX, -1.0)


def _strength(x_RL: Tensor, period_R: Tensor) -> Tensor:
    """1 − (robust variance around the mean of each phase) / variance (R), 0 without a period.

    Not the value a period ago: a slow series resembles itself after any few slots.
    """
    there_RL = torch.isfinite(x_RL)
    low_R1, high_R1 = (torch.nanquantile(x_RL, q, dim=1, keepdim=True) for q in (0.01, 0.99))
    clipped_RL = torch.minimum(torch.maximum(x_RL, low_R1), high_R1)
    phase_RL = torch.arange(x_RL.shape[1], device=x_RL.device) % period_R.clamp_min(1)[:, None]
    value_RL = torch.where(there_RL, clipped_RL, 0.0)
    zero_RX = torch.zeros(len(x_RL), PERIOD_MAX + 1, dtype=x_RL.dtype, device=x_RL.device)
    many_RX = zero_RX.scatter_add(1, phase_RL, there_RL.to(x_RL.dtype)).clamp_min(1.0)
    mean_RX = zero_RX.scatter_add(1, phase_RL, value_RL) / many_RX
    off_RL = (x_RL - mean_RX.gather(1, phase_RL)).abs()
    spread_R = off_RL.nanmedian(1).values * 1.4826
    variance_R = (clipped_RL - clipped_RL.nanmean(1, keepdim=True)).square().nanmean(1).clamp_min(1e-12)
    return torch.where(period_R > 0, 1 - spread_R.square() / variance_R, 0.0).nan_to_num(nan=0.0)
