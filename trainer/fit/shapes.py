"""Fits the shape memory: which views a row keeps, and how it weighs them, is decided by injected anomalies.

Shapes: R rows (stream, channel), L slots, V views (a width and a kind), X rows that are fitted in full,
P medoids of a view, M sampled slots
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from detector.model import calibration
from detector.model.periods import shape_period
from detector.model.row_types import Rows
from detector.model.views import shape_windows, shapes
from detector.model.views.prototypes import pick
from detector.model.views.shape_windows import Signals
from trainer.fit.ground import Ground, ground_of
from trainer.fit.levels import OVERLAP
from trainer.fit.shape_past import with_past
from trainer.fit.shape_sample import Sample, sampled
from trainer.fit.shape_view import FittedView, fit_view

CANDIDATES = 4096  # windows of the history that medoids are chosen from: a longer history is thinned evenly
_EPSILON = 1e-3
# Mean rate over all views: below the first the row has no shapes to remember (90 % of the web KPIs), above the
# second it has (90 % of the UCR archive). Figures of other bounds: docs/decisions/008-shape-memory.md.
FROM, FULL = 0.03, 0.06
# Whether a row has shapes at all is seen on few windows. Which views to keep is not: chosen on 64 medoids they find
# 80 % of the UCR shapes, chosen on all 256 they find 86 %.
TRIED_CANDIDATES, TRIED_MEDOIDS, TRIED_FROM = 1024, 64, 0.02
ROWS_A_PASS = 2  # a row's distances are 4 MB: more rows at once fall out of the cache and take twice as long
_TAIL_FLOOR = 0.05  # of the distance from median to 99 % quantile
MIN_SLOTS = 256
_TABLES = ("ends", "own", "centre", "unit")  # of a fitted view, in its order


@dataclass(frozen=True)
class ShapeFit:
    """The shape memory of those rows that have evidence for one."""

    fitted_X: Tensor  # which rows
    rows: Rows  # their "shape.…" tables (X, …)
    sample: Sample
    evidence_R: Tensor  # mean rate over all views, of all rows that were asked for


def fit_shapes(
    x_RL: Tensor, keep: int, medoids: int, sharpness: int = 3, past_RX: Tensor | None = None
) -> ShapeFit:  # fmt: skip
    """Fit rows (NaN = gap) of any number, `keep` views each, weighed by the power `sharpness` of their evidence.

    `past_RX` is what stands before their rings (X slots, NaN = none); ends count from its first slot.
    Views that see little must not outvote by number the few that see much.

    All widths and kinds are tried on few windows first: a row without any evidence there is not fitted in full.
    """
    past_RX = x_RL[:, :0] if past_RX is None else past_RX
    cuts = [slice(at, at + ROWS_A_PASS) for at in range(0, len(x_RL), ROWS_A_PASS)]
    parts = [_fit(x_RL[cut], past_RX[cut], keep, medoids, sharpness) for cut in cuts]
    full = [part.rows for part in parts if len(part.fitted_X)]
    rows = {name: torch.cat([part[name] for part in full]) for name in full[0]} if full else {}
    sizes = max(part.sample[0].shape[1] for part in parts)
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


def _fit(x_RL: Tensor, past_RX: Tensor, keep: int, medoids: int, sharpness: int) -> ShapeFit:
    period_R = shape_period(x_RL)
    ground = ground_of(x_RL, period_R)
    width_R9 = shape_windows.widths(period_R, ground.slots_R)
    kinds = len(shape_windows.KINDS)
    width_RV = width_R9.repeat_interleave(kinds, 1)
    kind_RV = torch.arange(kinds, device=x_RL.device).repeat(shape_windows.SCALES).expand(width_RV.shape)
    tried = [
        fit_view(ground, width_RV[:, v], kind_RV[:, v], TRIED_CANDIDATES, min(medoids, TRIED_MEDOIDS)).rate_R
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
    every = [fit_view(ground, width_XV[:, v], kind_XV[:, v], CANDIDATES, medoids) for v in range(width_XV.shape[1])]
    rate_XV = torch.stack([view.rate_R for view in every], 1)
    evidence_R = torch.zeros_like(evidence_R)
    evidence_R[fitted_X] = rate_XV.clamp_min(0).mean(1)
    best_XV = rate_XV.topk(min(keep, rate_XV.shape[1]), dim=1).indices

    def kept(values: Iterable[Tensor]) -> Tensor:
        return pick(torch.stack(list(values), 1), best_XV)

    rate_XV = rate_XV.gather(1, best_XV)
    width_XV, kind_XV = width_XV.gather(1, best_XV), kind_XV.gather(1, best_XV)
    past, joined = past_RX.shape[1], ground.signals
    rows = ground.rows | {
        "shape.width": width_XV,
        "shape.kind": kind_XV,
        "shape.ends": kept(view.ends_RP for view in every) + past,
        "shape.own": kept(view.own_RP for view in every),
        "shape.centre": kept(view.centre_R for view in every),
        "shape.unit": kept(view.unit_R for view in every),
    }
    if past:
        joined = shape_windows.signals(torch.cat([past_RX, x_RL], 1)[fitted_X], ground.rows)
        rows |= _older(rows, ground, joined, past)
    weight_XV = torch.where(rate_XV >= 0, (rate_XV.clamp_min(0) + _EPSILON) ** sharpness, 0.0)
    rows["shape.weight"] = weight_XV / weight_XV.sum(1, keepdim=True).clamp_min(1e-12)
    sample = sampled(ground, rows, joined, past)
    # Wide windows overlap: few of the samples are independent, and a tail must not trust more than those.
    alike_X = shapes.mean_width(rows) * OVERLAP * sample.end_RM.shape[1] / ground.slots_R
    rows["shape.cal"] = calibration.fit(sample.fused_RM, sample.whole_RM, _TAIL_FLOOR, alike_X)
    evidence_R[fitted_X] *= torch.isfinite(rows["shape.cal"]).all(-1)
    return ShapeFit(fitted_X, rows, sample, evidence_R)


def _older(rows: Rows, ground: Ground, joined: Signals, past: int) -> Rows:
    """Tables of the views that were kept, with medoids of the past where that holds other shapes."""
    views = []
    for v in range(rows["shape.width"].shape[1]):
        width_X, kind_X, ends_XP, own_XP, centre_X, unit_X = (
            rows[f"shape.{name}"][:, v] for name in ("width", "kind", *_TABLES)
        )
        view = FittedView(ends_XP, own_XP, centre_X, unit_X, torch.zeros_like(centre_X))
        views.append(with_past(ground, joined, past, width_X, kind_X, CANDIDATES, view))
    return {f"shape.{name}": torch.stack([view[i] for view in views], 1) for i, name in enumerate(_TABLES)}
