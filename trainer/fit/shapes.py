"""Fits the shape memory: medoids, their own distances, and the evidence by which a row chooses its views.

Shapes: R rows, L slots, N candidate windows, P medoids, T points, S scales, V views kept, X probes of injected
anomalies, M fused samples.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from detector.model import calibration
from detector.model.row_types import Rows
from detector.model.views import shapes
from detector.model.views.forecast import shape_period
from detector.model.views.plain import choose
from detector.model.views.prototypes import pick
from trainer.fit.levels import OVERLAP
from trainer.inject.anomalies import Injected, inject

CANDIDATES = 4096  # windows of the history that medoids are chosen from: a longer history is thinned evenly
PROBES = 12  # windows over an injected anomaly that are looked at
_EPSILON = 1e-3
# A window's neighbours in time are no evidence that it is normal: a twentieth of the history, or its own width.
_ZONE, _ZONE_MAX = 20, 4
# Mean rate over all views: below the first the row has no shapes to remember (90 % of the web KPIs), above the
# second it has (90 % of the UCR archive). Figures of other bounds: docs/decisions/008-shape-memory.md.
FROM, FULL = 0.03, 0.06
# Whether a row has shapes at all is seen on few windows. Which views to keep is not: chosen on 64 medoids they find
# 80 % of the UCR shapes, chosen on all 256 they find 86 %.
TRIED_CANDIDATES, TRIED_MEDOIDS, TRIED_FROM = 1024, 64, 0.02
ROWS_A_PASS = 2  # a row's distances are 4 MB: more rows at once fall out of the cache and take twice as long
_BLOCKS, _SPARSE = 1024, 4  # pieces of history that the fused score is calibrated on, and slots between windows of one
_TAIL_FLOOR = 0.05  # of the distance from median to 99 % quantile
_UNIT_FLOOR = 1e-3  # distances differ by rounding alone in a history that repeats itself exactly
MIN_SLOTS = 256


class Sample(NamedTuple):
    """Fused scores of normal slots, M of each row."""

    end_XM: Tensor  # which slots
    fused_XM: Tensor
    whole_XM: Tensor  # False where a window had a gap


@dataclass(frozen=True)
class ShapeFit:
    """The shape memory of those rows that have evidence for one."""

    fitted_X: Tensor  # which rows
    rows: Rows  # their "shape.…" tables (X, …)
    sample: Sample
    evidence_R: Tensor  # mean rate over all views, of all rows that were asked for


class _View(NamedTuple):
    """One width and kind of all rows."""

    ends_RP: Tensor
    own_RP: Tensor
    centre_R: Tensor
    unit_R: Tensor
    rate_R: Tensor


def fit_shapes(x_RL: Tensor, keep: int, medoids: int, sharpness: int = 3) -> ShapeFit:
    """Fit rows (NaN = gap) of any number, `keep` views each, weighed by the power `sharpness` of their evidence.

    Views that see little must not outvote by number the few that see much.

    All widths and kinds are tried on few windows first: a row without any evidence there is not fitted in full.
    """
    parts = [_fit(x_RL[at : at + ROWS_A_PASS], keep, medoids, sharpness) for at in range(0, len(x_RL), ROWS_A_PASS)]
    full = [part.rows for part in parts if len(part.fitted_X)]
    rows = {name: torch.cat([part[name] for part in full]) for name in full[0]} if full else {}
    sizes = max(part.sample.end_XM.shape[1] for part in parts)
    samples = [
        Sample(*(torch.nn.functional.pad(value, (0, sizes - value.shape[1])) for value in part.sample))
        for part in parts
        if len(part.fitted_X)
    ]
    return ShapeFit(
        torch.cat([part.fitted_X + at * ROWS_A_PASS for at, part in enumerate(parts)]),
        rows,
        Sample(*(torch.cat(values) for values in zip(*samples, strict=True))) if samples else parts[0].sample,
        torch.cat([part.evidence_R for part in parts]),
    )


@dataclass(frozen=True)
class _Ground:
    """What all views of a pass are fitted on."""

    rows: Rows
    signals: shapes.Signals
    pieces: shapes.Signals
    injected: Injected
    slots_R: Tensor

    def of(self, index_X: Tensor) -> "_Ground":
        """Some of its rows."""
        many = self.injected.piece_RAB.shape[1]
        piece_X = (index_X[:, None] * many + torch.arange(many, device=index_X.device)).flatten()
        return _Ground(
            {name: value[index_X] for name, value in self.rows.items()},
            shapes.Signals(*(value[index_X] for value in self.signals)),
            shapes.Signals(*(value[piece_X] for value in self.pieces)),
            Injected(*(value[index_X] for value in self.injected)),
            self.slots_R[index_X],
        )


def _fit(x_RL: Tensor, keep: int, medoids: int, sharpness: int) -> ShapeFit:
    period_R = shape_period(x_RL)
    ground = _ground(x_RL, period_R)
    width_RS = shapes.widths(period_R, ground.slots_R)
    kinds = len(shapes.KINDS)
    width_RV = width_RS.repeat_interleave(kinds, 1)
    kind_RV = torch.arange(kinds, device=x_RL.device).repeat(shapes.SCALES).expand(width_RV.shape)
    tried = [
        _view(ground, width_RV[:, v], kind_RV[:, v], TRIED_CANDIDATES, min(medoids, TRIED_MEDOIDS)).rate_R
        for v in range(width_RV.shape[1])
    ]
    rate_RV = torch.stack(tried, 1)
    enough_R = torch.isfinite(x_RL).sum(1) >= MIN_SLOTS
    evidence_R = torch.where(enough_R, rate_RV.clamp_min(0).mean(1), 0.0)
    [fitted_X] = (evidence_R > TRIED_FROM).nonzero(as_tuple=True)
    if not len(fitted_X):
        none_X0 = torch.zeros(0, 0, device=x_RL.device)
        return ShapeFit(fitted_X, {}, Sample(none_X0.long(), none_X0, none_X0 > 0), torch.zeros_like(evidence_R))
    ground, width_XV, kind_XV = ground.of(fitted_X), width_RV[fitted_X], kind_RV[fitted_X]
    every = [_view(ground, width_XV[:, v], kind_XV[:, v], CANDIDATES, medoids) for v in range(width_XV.shape[1])]
    rate_XV = torch.stack([view.rate_R for view in every], 1)
    evidence_R = torch.zeros_like(evidence_R)
    evidence_R[fitted_X] = rate_XV.clamp_min(0).mean(1)
    best_XV = rate_XV.topk(min(keep, rate_XV.shape[1]), dim=1).indices

    def kept(values: Iterable[Tensor]) -> Tensor:
        return pick(torch.stack(list(values), 1), best_XV)

    rate_XV = rate_XV.gather(1, best_XV)
    rows = ground.rows | {
        "shape.width": width_XV.gather(1, best_XV),
        "shape.kind": kind_XV.gather(1, best_XV),
        "shape.ends": kept(view.ends_RP for view in every),
        "shape.own": kept(view.own_RP for view in every),
        "shape.centre": kept(view.centre_R for view in every),
        "shape.unit": kept(view.unit_R for view in every),
    }
    weight_XV = torch.where(rate_XV >= 0, (rate_XV.clamp_min(0) + _EPSILON) ** sharpness, 0.0)
    rows["shape.weight"] = weight_XV / weight_XV.sum(1, keepdim=True).clamp_min(1e-12)
    sample = _sample(ground, rows)
    # Wide windows overlap: few of the samples are independent, and a tail must not trust more than those.
    alike_X = shapes.mean_width(rows) * OVERLAP * sample.end_XM.shape[1] / ground.slots_R
    rows["shape.cal"] = calibration.fit(sample.fused_XM, sample.whole_XM, _TAIL_FLOOR, alike_X)
    evidence_R[fitted_X] *= torch.isfinite(rows["shape.cal"]).all(-1)
    return ShapeFit(fitted_X, rows, sample, evidence_R)


def _ground(x_RL: Tensor, period_R: Tensor) -> _Ground:
    rows = _moments(x_RL)
    first_R = torch.isfinite(x_RL).long().argmax(1)
    own_RL = ((x_RL - rows["shape.mean"][:, None]) / rows["shape.std"][:, None]).clamp(-shapes.CLIP, shapes.CLIP)
    injected = inject(own_RL, period_R, first_R)
    many = injected.piece_RAB.shape[1]
    pieces = shapes.running(injected.piece_RAB.flatten(0, 1), rows["shape.step"].repeat_interleave(many))
    return _Ground(rows, shapes.signals(x_RL, rows), pieces, injected, x_RL.shape[1] - first_R)


def _moments(x_RL: Tensor) -> Rows:
    there_RL = torch.isfinite(x_RL)
    many_R = there_RL.sum(1).clamp_min(1)
    value_RL = torch.where(there_RL, x_RL, 0.0).double()
    mean_R = value_RL.sum(1) / many_R
    std_R = (torch.where(there_RL, value_RL - mean_R[:, None], 0.0).square().sum(1) / many_R).sqrt().clamp_min(1e-6)
    own_RL = ((x_RL - mean_R[:, None]) / std_R[:, None]).clamp(-shapes.CLIP, shapes.CLIP)
    step_R = own_RL.diff(dim=1).abs().nanmean(1).nan_to_num(nan=1.0).clamp_min(1e-6)
    return {"shape.mean": mean_R, "shape.std": std_R, "shape.step": step_R}


def _whole(signals: shapes.Signals, width_R: Tensor) -> Tensor:
    """True at the ends (R, L) of windows without a gap."""
    length = signals.gap_RX.shape[1] - 1
    end_L = torch.arange(length, device=width_R.device)
    first_RL = end_L + 1 - width_R[:, None]
    gaps_RL = signals.gap_RX[:, 1:] - signals.gap_RX.gather(1, first_RL.clamp_min(0))
    return (first_RL >= 0) & (gaps_RL == 0)


def _zone(width_R: Tensor, slots_R: Tensor) -> Tensor:
    return torch.minimum(torch.maximum(width_R, slots_R // _ZONE), slots_R // _ZONE_MAX)


def _view(ground: _Ground, width_R: Tensor, kind_R: Tensor, candidates: int, medoids: int) -> _View:
    zone_R = _zone(width_R, ground.slots_R)
    whole_RL = _whole(ground.signals, width_R)
    end_RN = choose(whole_RL, min(candidates, whole_RL.shape[1]))
    feature_RNT, _ = shapes.windows(ground.signals, end_RN, *_each(end_RN, width_R, kind_R))
    chosen_RP = k_center(feature_RNT, medoids)
    medoid_RPT = pick(feature_RNT, chosen_RP)
    ends_RP = end_RN.gather(1, chosen_RP)
    away_RNP = _away(feature_RNT, end_RN, medoid_RPT, ends_RP, zone_R)
    own_RP = _nearest_away(medoid_RPT, ends_RP, feature_RNT, end_RN, zone_R)
    self_RN = _less_own(away_RNP, own_RP)
    centre_R = self_RN.nanmedian(1).values
    unit_R = (torch.nanquantile(self_RN, 0.99, dim=1) - centre_R).clamp_min(_UNIT_FLOOR)
    top_R = self_RN.nan_to_num(nan=-torch.inf).amax(1)
    rate_R = _rate(ground, width_R, kind_R, zone_R, medoid_RPT, ends_RP, own_RP, top_R)
    usable_R = whole_RL.any(-1) & torch.isfinite(centre_R) & torch.isfinite(unit_R)
    return _View(ends_RP, own_RP, centre_R, unit_R, torch.where(usable_R, rate_R, -1.0))


def _each(end_RX: Tensor, width_R: Tensor, kind_R: Tensor) -> tuple[Tensor, Tensor]:
    """Width and kind of every window (R, X)."""
    return width_R[:, None].expand(end_RX.shape), kind_R[:, None].expand(end_RX.shape)


def k_center(feature_RNT: Tensor, count: int) -> Tensor:
    """Indices (R, P): the most typical window, then always the one farthest from all chosen (Gonzalez 1985).

    Extremes are kept, and no window is farther from the chosen than twice the least possible. More medoids than
    distinct windows repeat some.
    """
    rows, many, _ = feature_RNT.shape
    norm_RN = feature_RNT.square().sum(-1)
    middle_R1T = feature_RNT.mean(1, keepdim=True)
    newest_R = (feature_RNT - middle_R1T).square().sum(-1).argmin(1)
    far_RN = torch.full_like(norm_RN, torch.inf)
    row_R = torch.arange(rows, device=feature_RNT.device)
    chosen = []
    for _ in range(min(count, many)):
        chosen.append(newest_R)
        centre_RT1 = feature_RNT[row_R, newest_R][..., None]
        square_RN = torch.baddbmm(norm_RN[..., None], feature_RNT, centre_RT1, alpha=-2.0)[..., 0]
        far_RN = torch.minimum(far_RN, square_RN + norm_RN[row_R, newest_R][:, None])
        newest_R = far_RN.argmax(1)
    index_RP = torch.stack(chosen, 1)
    return index_RP[:, torch.arange(count, device=index_RP.device) % index_RP.shape[1]]


def _away(of_RNT: Tensor, of_end_RN: Tensor, to_RPT: Tensor, to_end_RP: Tensor, zone_R: Tensor) -> Tensor:
    """Distances (R, N, P), infinite between windows that lie within the zone of each other."""
    norm_RNP = of_RNT.square().sum(-1)[..., None] + to_RPT.square().sum(-1)[:, None]
    square_RNP = torch.baddbmm(norm_RNP, of_RNT, to_RPT.mT, alpha=-2.0)
    near_RNP = (of_end_RN.int()[..., None] - to_end_RP.int()[:, None]).abs_() < zone_R.int()[:, None, None]
    return square_RNP.clamp_min_(0).masked_fill_(near_RNP, torch.inf)


def _nearest_away(of_RNT: Tensor, of_end_RN: Tensor, to_RPT: Tensor, to_end_RP: Tensor, zone_R: Tensor) -> Tensor:
    """Nearest distance (R, N) beyond the zone, 0 where everything lies within it."""
    square_RN = _away(of_RNT, of_end_RN, to_RPT, to_end_RP, zone_R).amin(-1)
    return torch.where(torch.isfinite(square_RN), square_RN, 0.0).sqrt()


def _less_own(square_RNP: Tensor, own_RP: Tensor) -> Tensor:
    """Score (R, N) as the detector makes it; NaN where everything lies within the zone."""
    best = square_RNP.min(-1)
    score_RN = best.values.sqrt() - shapes.OWN * own_RP.gather(1, best.indices)
    return torch.where(torch.isfinite(best.values), score_RN, torch.nan)


def _rate(
    ground: _Ground, width_R: Tensor, kind_R: Tensor, zone_R: Tensor, medoid_RPT: Tensor, ends_RP: Tensor,
    own_RP: Tensor, top_R: Tensor,
) -> Tensor:  # fmt: skip
    """Share of the injected anomalies that exceed the largest score of the row's own history."""
    injected = ground.injected
    rows, many, size = injected.piece_RAB.shape
    step_X = torch.linspace(0, 1, PROBES, device=width_R.device)
    middle_RAX = injected.onset_RA[..., None] + ((injected.length_RA - 1)[..., None] * step_X).round().long()
    end_RAX = middle_RAX + (width_R - width_R // 2)[:, None, None] - 1
    within_RAX = (end_RAX - injected.start_RA[..., None]).clamp(0, size - 1)
    each = _each(within_RAX.flatten(0, 1), width_R.repeat_interleave(many), kind_R.repeat_interleave(many))
    feature_BXT, whole_BX = shapes.windows(ground.pieces, within_RAX.flatten(0, 1), *each)
    square_RXP = _away(feature_BXT.reshape(rows, many * PROBES, -1), end_RAX.flatten(1), medoid_RPT, ends_RP, zone_R)
    score_RAX = _less_own(square_RXP, own_RP).reshape(rows, many, PROBES)
    score_RAX = torch.where(whole_BX.reshape(score_RAX.shape), score_RAX, torch.nan).nan_to_num(nan=-torch.inf)
    return (score_RAX.amax(-1) > top_R[:, None]).float().mean(1)


def _sample(ground: _Ground, rows: Rows) -> Sample:
    """The fused score on the row's own history, each window judged without its neighbours in time."""
    signals = ground.signals
    length = signals.gap_RX.shape[1] - 1
    whole_RL = _whole(signals, rows["shape.width"].amax(1))
    end_RM = choose(whole_RL, max(1, min(_BLOCKS, length // _SPARSE)))
    # Of the slots that a score averages every fourth is looked at: neighbours say the same.
    back_X = torch.arange(0, shapes.SMOOTH, _SPARSE, device=end_RM.device)
    end_RX = (end_RM[..., None] - back_X).clamp_min(0).flatten(1)
    unit = []
    for v in range(rows["shape.width"].shape[1]):
        width_R, kind_R, ends_RP = rows["shape.width"][:, v], rows["shape.kind"][:, v], rows["shape.ends"][:, v]
        feature_RXT, whole_RX = shapes.windows(signals, end_RX, *_each(end_RX, width_R, kind_R))
        medoid_RPT, _ = shapes.windows(signals, ends_RP, *_each(ends_RP, width_R, kind_R))
        square_RXP = _away(feature_RXT, end_RX, medoid_RPT, ends_RP, _zone(width_R, ground.slots_R))
        score_RX = _less_own(square_RXP, rows["shape.own"][:, v])
        unit_RX = (score_RX - rows["shape.centre"][:, v : v + 1]) / rows["shape.unit"][:, v : v + 1]
        unit.append(torch.where(whole_RX, unit_RX, torch.nan))
    mean_RX, there_RX = shapes.weighted(torch.stack(unit, 1), rows["shape.weight"])
    blocks = (len(mean_RX), -1, len(back_X))
    within_R1X = (back_X < shapes.smoothing(rows)[:, None])[:, None]
    fused_RM = (mean_RX.reshape(blocks) * within_R1X).sum(-1) / within_R1X.sum(-1)
    return Sample(end_RM, fused_RM.float(), (there_RX.reshape(blocks) | ~within_R1X).all(-1))
