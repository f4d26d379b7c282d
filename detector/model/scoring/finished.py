"""Last phase: channels become streams, and groups are cut into the scores of their segments.

Shapes: R rows (stream, channel), S streams, C channels, K scored slots
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from detector.model.fusion import corrected, finish, ranked
from detector.model.installed import InstalledStudents
from detector.model.interface import SegmentScore
from detector.model.scoring.asked import Asked
from detector.model.scoring.depth0 import Depth0
from detector.model.scoring.explained import explained
from detector.model.scoring.gathered import Group


class _Fused(NamedTuple):
    """What alerts, and what slots are ranked by."""

    surprise_SK: Tensor
    rank_SK: Tensor
    alert_RK: Tensor  # of each channel


def finished(group: Group, shallow: Depth0, asked: Asked, students: InstalledStudents) -> dict[int, SegmentScore]:
    """Scores of a group's segments, by their index in the call; adds what a person wants to know."""
    scored_RK = torch.isfinite(asked.row_RK)
    fused = _fused(group, shallow, asked, students)
    found = explained(shallow, asked, students)

    def index(value_RK: Tensor) -> np.ndarray:
        return torch.where(scored_RK, value_RK, -1).to(torch.int16).cpu().numpy()

    def known(value_RK: Tensor) -> np.ndarray:
        return torch.where(scored_RK, value_RK, torch.nan).float().cpu().numpy()

    view_RK, scale_RK, nearest_RK = index(found.view_RK), index(found.scale_RK), index(found.nearest_RK)
    expected_RK, deviation_RK = known(found.expected_RK), known(found.deviation_RK)
    low_RK, high_RK = known(found.low_RK), known(found.high_RK)
    lag_R = shallow.rows["lag"].round().to(torch.int16).cpu().numpy()
    row_RK, channel_RK, surprise_SK, rank_SK = (
        value.float().cpu().numpy() for value in (asked.row_RK, fused.alert_RK, fused.surprise_SK, fused.rank_SK)
    )
    teacher_RK = asked.teacher_RK.cpu().numpy()
    loud_RK = np.nan_to_num(row_RK, nan=-1.0)
    out: dict[int, SegmentScore] = {}
    row = 0
    for s, (at, size, count) in enumerate(zip(group.segments, group.sizes, group.counts, strict=True)):
        newest = slice(group.width - count, None)
        mine = slice(row, row + size)
        stream = group.streams[s]
        out[at] = SegmentScore(
            stream=stream,
            version=students.version_of(stream),
            views=students.views,
            surprise_K=surprise_SK[s, newest],
            rank_K=rank_SK[s, newest],
            channel_KC=channel_RK[mine, newest].T,
            view_KC=view_RK[mine, newest].T,
            scale_KC=scale_RK[mine, newest].T,
            nearest_KC=nearest_RK[mine, newest].T,
            expected_KC=expected_RK[mine, newest].T,
            low_KC=low_RK[mine, newest].T,
            high_KC=high_RK[mine, newest].T,
            deviation_KC=deviation_RK[mine, newest].T,
            teacher_K=np.asarray(teacher_RK[mine, newest].any(0)),
            lag_K=lag_R[mine][loud_RK[mine, newest].argmax(0)],
        )
        row += size
    return out


def _fused(group: Group, shallow: Depth0, asked: Asked, students: InstalledStudents) -> _Fused:
    """Channels together. What alerts may be louder than what ranks: it need not wait until a shape is complete."""
    scored_RK = torch.isfinite(asked.row_RK)
    row_SCK = torch.full((len(group.segments), max(group.sizes), group.width), torch.nan, device=scored_RK.device)
    row_SCK[group.stream_R, group.channel_R] = asked.row_RK
    few_SC = torch.zeros(row_SCK.shape[:2], dtype=torch.bool, device=row_SCK.device)
    few_SC[group.stream_R, group.channel_R] = shallow.rows["novel"] > 0
    rank_SK = ranked(row_SCK, few_SC)
    alert_RK = torch.fmax(asked.row_RK, shallow.early_RK).where(scored_RK, torch.nan)
    row_SCK[group.stream_R, group.channel_R] = alert_RK
    streams = students.tables.streams
    surprise_SK = finish(row_SCK, few_SC, streams["stream_cal"][group.seats])
    return _Fused(corrected(surprise_SK, streams["correction"][group.seats]), rank_SK, alert_RK)
