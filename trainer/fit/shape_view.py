"""One shape view: its medoids, and its evidence, that is the share of injected anomalies which it finds.

Shapes: R rows (stream, channel), N windows, P medoids, T points of a window, A anomalies, X probes of an anomaly
"""

from typing import NamedTuple

import torch
from torch import Tensor

from detector.model.views import shape_windows
from detector.model.views.prototypes import pick
from detector.model.views.shape_windows import Signals
from trainer.fit.ground import PAD, Ground, each
from trainer.fit.medoids import away, k_center, less_own, nearest_away, when, zone

PROBES = 12  # windows over an injected anomaly that are looked at
_UNIT_FLOOR = 1e-3  # distances differ by rounding alone in a history that repeats itself exactly


class FittedView(NamedTuple):
    """One width and kind of all rows."""

    ends_RP: Tensor
    own_RP: Tensor  # distance of each medoid to the rest of the history
    centre_R: Tensor  # median of the history's own scores
    unit_R: Tensor  # from there to their 99 % quantile
    rate_R: Tensor  # share of the anomalies found; −1 where the view cannot be used


class Remembered(NamedTuple):
    """Medoids of one view and how the ring's own windows score by them."""

    medoid_RPT: Tensor
    ends_RP: Tensor
    own_RP: Tensor
    centre_R: Tensor
    unit_R: Tensor
    top_R: Tensor  # largest score of the ring's own windows


def fit_view(ground: Ground, width_R: Tensor, kind_R: Tensor, candidates: int, medoids: int) -> FittedView:
    """Fit one view of all rows from at most so many windows of each history."""
    zone_R = zone(width_R, ground.slots_R)
    end_RN, any_R = ground.candidates(width_R, candidates)
    found = remembered(ground.signals, 0, end_RN, width_R, kind_R, zone_R, medoids)
    rate_R = _rate(ground, width_R, kind_R, zone_R, found.medoid_RPT, found.ends_RP, found.own_RP, found.top_R)
    usable_R = any_R & torch.isfinite(found.centre_R) & torch.isfinite(found.unit_R)
    return FittedView(*found[1:5], torch.where(usable_R, rate_R, -1.0))


def remembered(
    signals: Signals, past: int, end_RN: Tensor, width_R: Tensor, kind_R: Tensor, zone_R: Tensor, medoids: int
) -> Remembered:
    """Medoids out of the windows that end at `end_RN`, of which the first `past` slots are no part of the ring."""
    feature_RNT, _ = shape_windows.windows(signals, end_RN, *each(end_RN, width_R, kind_R))
    chosen_RP = k_center(feature_RNT, medoids)
    medoid_RPT = pick(feature_RNT, chosen_RP)
    ends_RP = end_RN.gather(1, chosen_RP)
    at_RN, at_RP = (when(end, past, width_R, zone_R) for end in (end_RN, ends_RP))
    away_RNP = away(feature_RNT, at_RN, medoid_RPT, at_RP, zone_R)
    own_RP = nearest_away(medoid_RPT, at_RP, feature_RNT, at_RN, zone_R)
    self_RN = torch.where(end_RN >= past, less_own(away_RNP, own_RP), torch.nan)
    centre_R = self_RN.nanmedian(1).values
    unit_R = (torch.nanquantile(self_RN, 0.99, dim=1) - centre_R).clamp_min(_UNIT_FLOOR)
    return Remembered(medoid_RPT, ends_RP, own_RP, centre_R, unit_R, self_RN.nan_to_num(nan=-torch.inf).amax(1))


def _rate(
    ground: Ground, width_R: Tensor, kind_R: Tensor, zone_R: Tensor, medoid_RPT: Tensor, ends_RP: Tensor,
    own_RP: Tensor, top_R: Tensor,
) -> Tensor:  # fmt: skip
    """Share (R) of the injected anomalies that exceed the largest score of the row's own history."""
    rows, anomalies = len(width_R), ground.anomalies
    size = ground.pieces.gap_RX.shape[1] - 1
    onset_RA, length_RA = ground.injected.onset_RA, ground.injected.length_RA
    step_X = torch.linspace(0, 1, PROBES, device=width_R.device)
    middle_RAX = onset_RA[..., None] + ((length_RA - 1)[..., None] * step_X).round().long()
    end_RAX = middle_RAX + (width_R - width_R // 2)[:, None, None] - 1
    within = (end_RAX - (onset_RA - PAD)[..., None]).clamp(0, size - 1).flatten(0, 1)
    of_each = each(within, width_R.repeat_interleave(anomalies), kind_R.repeat_interleave(anomalies))
    feature, whole = shape_windows.windows(ground.pieces, within, *of_each)
    feature_RNT = feature.reshape(rows, anomalies * PROBES, -1)
    square_RNP = away(feature_RNT, end_RAX.flatten(1), medoid_RPT, ends_RP, zone_R)
    score_RAX = less_own(square_RNP, own_RP).reshape(end_RAX.shape)
    score_RAX = torch.where(whole.reshape(end_RAX.shape), score_RAX, torch.nan).nan_to_num(nan=-torch.inf)
    return (score_RAX.amax(-1) > top_R[:, None]).float().mean(1)
