"""What depth 0 says of injected anomalies: every probe is a slot over one of them, judged as the detector would.

Shapes: R rows, L slots, A anomalies a row, X probes an anomaly, B = R·A·X probes, N slots up to a probe, J slots of
the longest anomaly, T points, V depth-0 views, Q scales,
M mixtures of depth 0 and the teacher.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from detector.model import calibration
from detector.model.installed import PLAIN
from detector.model.layout import Layout
from detector.model.memories import Memories
from detector.model.pooling import Windows
from detector.model.row_types import Rows
from detector.model.shallow import blended, judge, measure
from detector.model.views import shapes
from detector.model.views.forecast import SEASON_AFTER, SEASON_SPAN, shape_period
from trainer.inject.anomalies import KINDS, PAD, Injected, inject

EACH = 2  # anomalies of a kind: 28 in all, for depth 0 is asked six times of each and the teacher twice
PROBES = 6
_AFTER = 8  # slots after the anomaly's last that are probed, of rows without shapes
_ROWS_A_PASS = 8  # 168 probes each, of up to 552 slots
_CLIP = 20.0  # standard deviations of a row's own: an outlier in it must not make all anomalies large
ANOMALIES = EACH * len(KINDS)


class Probes(NamedTuple):
    """Depth 0 at the probes; NaN: not to be judged."""

    surprise_RAX: Tensor
    windows_Q: list[Tensor]  # (R, A, X, T) a scale, NaN where a point is missing
    nearest_RAXQ: Tensor


class Evidence(NamedTuple):
    """Which injected anomalies (R, A) are found by depth 0 alone, and by each mixture with the teacher (R, M, A)."""

    alone_RA: Tensor
    mixed_RMA: Tensor

    def gain(self) -> Tensor:
        """Anomalies won less those lost (R, M)."""
        return (self.mixed_RMA.float() - self.alone_RA[:, None].float()).sum(-1)


def probe(x_RL: Tensor, rows: Rows, memories: Memories, layout: Layout) -> Probes:
    """Inject anomalies into prepared rows and let depth 0 judge them."""
    shaped_R = torch.zeros(len(x_RL), dtype=torch.bool, device=x_RL.device)
    shaped_R[memories.at] = True
    parts: list[tuple[Tensor, Probes]] = []
    for with_shapes in (False, True):
        [index_Y] = (shaped_R == with_shapes).nonzero(as_tuple=True)
        for index_X in torch.split(index_Y, _ROWS_A_PASS) if len(index_Y) else ():
            own = {name: value[index_X] for name, value in rows.items()}
            where = {row: at for at, row in enumerate(memories.at)}
            mine = [where[row] for row in index_X.tolist()] if with_shapes else []
            parts.append((index_X, _probe(x_RL[index_X], own, _tables(memories, mine), layout)))
    order_R = torch.cat([index_X for index_X, _ in parts]).argsort()
    found = [part for _, part in parts]
    windows_Q = [torch.cat([part.windows_Q[q] for part in found])[order_R] for q in range(len(layout.scales))]
    surprise_RAX = torch.cat([part.surprise_RAX for part in found])[order_R]
    return Probes(surprise_RAX, windows_Q, torch.cat([part.nearest_RAXQ for part in found])[order_R])


def injected(x_RL: Tensor) -> Injected:
    """The anomalies of rows, in the rows' own unit."""
    first_R = torch.isfinite(x_RL).long().argmax(1)
    mean_R1 = x_RL.nanmean(1, keepdim=True).nan_to_num(nan=0.0)
    off_RL = x_RL - mean_R1
    many_R1 = torch.isfinite(off_RL).sum(1, keepdim=True).clamp_min(1)
    std_R1 = (off_RL.square().nansum(1, keepdim=True) / many_R1).sqrt().clamp_min(1e-6)
    made = inject((off_RL / std_R1).clamp(-_CLIP, _CLIP), shape_period(x_RL), first_R, each=EACH)
    return made._replace(piece_RAB=made.piece_RAB * std_R1[..., None] + mean_R1[..., None])


def slots(made: Injected, lag_R: Tensor, length: int) -> Tensor:
    """Where anomalies are probed (R, A, X): from the first slot to when the row's views have seen the last."""
    after_R = lag_R.round().clamp_min(_AFTER)
    step_X = torch.linspace(0, 1, PROBES, device=lag_R.device)
    span_RA1 = (made.length_RA - 1 + after_R[:, None])[..., None]
    return (made.onset_RA[..., None] + (span_RA1 * step_X).round().long()).clamp_max(length - 1)


def _probe(x_RL: Tensor, rows: Rows, tables: Rows, layout: Layout) -> Probes:
    made = injected(x_RL)
    end_RAX = slots(made, rows["lag"], x_RL.shape[1])
    size = (len(x_RL), ANOMALIES, PROBES)
    row_B = torch.arange(size[0], device=x_RL.device).repeat_interleave(ANOMALIES * PROBES)
    own = {name: rows[name][row_B] for name in layout.shallow_fields()}
    end_B = end_RAX.flatten()
    anomaly_B = torch.arange(size[0] * ANOMALIES, device=x_RL.device).repeat_interleave(PROBES)

    def values(back_N: Tensor, before_B: Tensor) -> Tensor:
        """Values (B, N) at slots `back_N` after the end, less `before_B`: the history with the anomaly in it."""
        return _at(x_RL, made, row_B, anomaly_B, (end_B - before_B)[:, None] + back_N)

    near = max(shapes.REACH if tables else PLAIN, max(layout.scales))
    none_B = torch.zeros_like(end_B)
    x_BN = values(torch.arange(1 - near, 1, device=x_RL.device), none_B)
    period_B = own["period"].long()
    around_N = torch.arange(SEASON_AFTER - SEASON_SPAN, SEASON_AFTER + 1, device=x_RL.device)
    own["season.once"] = values(around_N, period_B)
    own["season.twice"] = values(around_N[:1] * 0, 2 * period_B)
    measures = measure(x_BN, own, layout.scales, 1)
    _, surprise_B1 = judge(measures.distance_RKV, own)
    if tables:
        surprise_B1 = _with_shapes(x_BN, surprise_B1, own, tables, row_B)
    windows_Q = [_whole(found).reshape(*size, -1) for found in measures.windows]
    return Probes(surprise_B1.reshape(size), windows_Q, measures.nearest_RKQ.reshape(*size, -1))


def _with_shapes(x_BN: Tensor, plain_B1: Tensor, own: Rows, tables: Rows, row_B: Tensor) -> Tensor:
    fused_B1 = shapes.score(x_BN, tables, row_B, 1).fused_RK
    shape_B1 = calibration.surprise(fused_B1, tables["shape.cal"][row_B, None])
    both_B1 = calibration.surprise(blended(plain_B1, shape_B1, own), tables["shape.mix"][row_B, None])
    return torch.where(torch.isfinite(both_B1), both_B1, plain_B1)


def _tables(memories: Memories, at: list[int]) -> Rows:
    """Memories as the detector unpacks them, in the order of `at`; nothing of none."""
    if not at:
        return {}
    own = {name: value[at] for name, value in memories.rows.items()}
    device = own["shape.own"].device
    medoid = [
        shapes.memory(memories.histories[i].to(device)[None], {n: v[i : i + 1] for n, v in memories.rows.items()})
        for i in at
    ]
    own["shape.medoid"] = torch.cat(medoid)
    own["shape.norm"] = own["shape.medoid"].square().sum(-2)
    return own


def _at(x_RL: Tensor, made: Injected, row_B: Tensor, anomaly_B: Tensor, slot_BN: Tensor) -> Tensor:
    """Values of row and anomaly at slots; NaN before the history and after it."""
    length = x_RL.shape[1]
    outside_BN = (slot_BN < 0) | (slot_BN >= length)
    value_BN = x_RL[row_B[:, None], slot_BN.clamp(0, length - 1)]
    value_BN = torch.where(outside_BN, torch.nan, value_BN)
    pieces = made.piece_RAB.flatten(0, 1)
    within_BN = slot_BN - made.onset_RA.flatten()[anomaly_B, None]
    inside_BN = (within_BN >= 0) & (within_BN < made.length_RA.flatten()[anomaly_B, None])
    changed_BN = pieces[anomaly_B[:, None], (within_BN + PAD).clamp(0, pieces.shape[1] - 1)]
    return torch.where(inside_BN & ~outside_BN, changed_BN, value_BN)


def _whole(found: Windows) -> Tensor:
    """Pooled windows (B, 1, T), NaN where a point is missing."""
    value_BKT, there_BKT, valid_BK = found
    value_BKT = torch.where(valid_BK[..., None], value_BKT, torch.nan)
    return value_BKT if there_BKT is None else torch.where(there_BKT, value_BKT, torch.nan)
