"""Judges slots over injected anomalies by the detector's own views, each as the newest slot of a history of its own.

Shapes: R rows (stream, channel), L slots, A anomalies of a row, B histories with one anomaly each,
N slots up to the judged one, M slots judged of a row (those of one anomaly together)
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
from detector.model.views import shape_windows, shapes
from detector.model.views.forecast import SEASON_AFTER, SEASON_SPAN
from trainer.inject.splice import Injected, spliced


class Judged(NamedTuple):
    """Of every history: a row of each tensor."""

    surprise: Tensor  # (B, 1)
    windows: list[Tensor]  # (B, 1, points) at each scale, NaN where a point is missing
    nearest: Tensor  # (B, 1, scales) nearest prototype


def judged(x_RL: Tensor, made: Injected, end_RM: Tensor, rows: Rows, tables: Rows, layout: Layout) -> Judged:
    """Judge prepared rows at slots `end_RM` with the anomalies in them.

    `tables` are the shape memories of all rows, or nothing when none has one (`unpacked`).
    """
    many, anomalies = end_RM.shape[1], made.onset_RA.shape[1]
    row_B = torch.arange(len(x_RL), device=x_RL.device).repeat_interleave(many)
    own = {name: rows[name][row_B] for name in layout.shallow_fields()}
    end_B = end_RM.flatten()
    anomaly_B = torch.arange(len(x_RL) * anomalies, device=x_RL.device).repeat_interleave(many // anomalies)

    def values(back_N: Tensor, before_B: Tensor) -> Tensor:
        """Values (B, N) at slots `back_N` after the end, less `before_B`: the history with the anomaly in it."""
        return spliced(x_RL, made, row_B, anomaly_B, (end_B - before_B)[:, None] + back_N)

    near = max(shapes.REACH if tables else PLAIN, max(layout.scales))
    none_B = torch.zeros_like(end_B)
    x_BN = values(torch.arange(1 - near, 1, device=x_RL.device), none_B)
    period_B = own["period"].long()
    around_N = torch.arange(SEASON_AFTER - SEASON_SPAN, SEASON_AFTER + 1, device=x_RL.device)
    own["season.once"] = values(around_N, period_B)
    own["season.twice"] = values(around_N[:1] * 0, 2 * period_B)
    distance, nearest, windows = measure(x_BN, own, layout.scales, 1)
    _, surprise_B1 = judge(distance, own)
    if tables:
        surprise_B1 = _with_shapes(x_BN, surprise_B1, own, tables, row_B)
    return Judged(surprise_B1, [_whole(found) for found in windows], nearest)


def unpacked(memories: Memories, at: list[int]) -> Rows:
    """Shape memories as the detector unpacks them, in the order of `at`; nothing of none."""
    if not at:
        return {}
    own = {name: value[at] for name, value in memories.rows.items()}
    device = own["shape.own"].device
    medoid = [
        shape_windows.memory(
            memories.histories[i].to(device)[None], {n: v[i : i + 1] for n, v in memories.rows.items()}
        )
        for i in at
    ]
    own["shape.medoid"] = torch.cat(medoid)
    own["shape.norm"] = own["shape.medoid"].square().sum(-2)
    return own


def _with_shapes(x_BN: Tensor, plain_B1: Tensor, own: Rows, tables: Rows, row_B: Tensor) -> Tensor:
    fused_B1, *_ = shapes.score(x_BN, tables, row_B, 1)
    shape_B1 = calibration.surprise(fused_B1, tables["shape.cal"][row_B, None])
    both_B1 = calibration.surprise(blended(plain_B1, shape_B1, own), tables["shape.mix"][row_B, None])
    return torch.where(torch.isfinite(both_B1), both_B1, plain_B1)


def _whole(found: Windows) -> Tensor:
    """Pooled windows (B, 1, points), NaN where a point is missing."""
    value, there, valid = found
    value = torch.where(valid[..., None], value, torch.nan)
    return value if there is None else torch.where(there, value, torch.nan)
