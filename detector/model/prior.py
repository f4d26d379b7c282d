"""The generic prior: what streams without a student are judged by, from their first window on.

It is no model and learns nothing: three discrepancies of the newest slot, each against what the same discrepancy has
been in the stream's own recent slots. The slots of a scored slot's context are, in time order: a long past, of which
only the extremes count; BLOCKS blocks of BLOCK slots that define what is normal; one more block, the newest
before the slot, which may be the anomaly's own and so does not count as normal; and the slot.

Shapes: R rows (stream, channel), S streams, C channels, L slots, K scored slots, V views
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from detector.model.fusion import fuse_channels
from detector.model.interface import Segment, SegmentScore
from detector.model.prior_rows import LEAST, REACH, VIEWS, PriorJudgement, judge

__all__ = ["LEAST", "REACH", "score"]
_CHUNK = 8192  # scored slots of rows at a time: 600 bytes each of context, a few times


def score(segments: Sequence[Segment], device: torch.device) -> list[SegmentScore]:
    """Scores of segments in order, their rows in as few calls as differing lengths allow."""
    widths: dict[int, list[int]] = {}
    for index, segment in enumerate(segments):
        widths.setdefault(1 << max(segment.scored(REACH) - 1, 0).bit_length(), []).append(index)
    out: dict[int, SegmentScore] = {}
    for width, members in sorted(widths.items()):
        out |= zip(members, _together([segments[i] for i in members], width, device), strict=True)
    return [out[index] for index in range(len(segments))]


def _together(segments: Sequence[Segment], width: int, device: torch.device) -> list[SegmentScore]:
    sizes = [segment.channels for segment in segments]
    length = REACH + width - 1
    values_RL = np.full((sum(sizes), length), np.nan, np.float32)
    row = 0
    for segment, size in zip(segments, sizes, strict=True):
        newest_CL = segment.newest(length)
        values_RL[row : row + size, length - newest_CL.shape[1] :] = newest_CL
        row += size
    x_RL = torch.from_numpy(values_RL).to(device)
    rows = max(1, _CHUNK // width)
    parts = [judge(x_RL[at : at + rows], width) for at in range(0, len(x_RL), rows)]
    judged = PriorJudgement(*(torch.cat(part) for part in zip(*parts, strict=True)))
    surprise_SK = _fused(judged.row_RK, sizes).cpu().numpy()
    row_RK, expected_RK, half_RK, deviation_RK = (
        value.cpu().numpy() for value in (judged.row_RK, judged.expected_RK, judged.half_RK, judged.deviation_RK)
    )
    loudest_RK = torch.where(torch.isfinite(judged.row_RK), judged.loudest_RK, -1).to(torch.int16).cpu().numpy()
    scales_V = np.array([view.scale for view in VIEWS], np.int16)
    made, row = [], 0
    for s, (segment, size) in enumerate(zip(segments, sizes, strict=True)):
        newest = slice(width - segment.scored(REACH), None)
        mine = (slice(row, row + size), newest)
        expected_KC, half_KC, view_KC = expected_RK[mine].T, half_RK[mine].T, loudest_RK[mine].T
        made.append(
            SegmentScore(
                stream=segment.stream,
                version=None,
                views=VIEWS,
                surprise_K=surprise_SK[s, newest],
                rank_K=surprise_SK[s, newest],
                channel_KC=row_RK[mine].T,
                view_KC=view_KC,
                scale_KC=np.where(view_KC < 0, -1, scales_V[view_KC]).astype(np.int16),
                nearest_KC=np.full(view_KC.shape, -1, np.int16),
                expected_KC=expected_KC,
                low_KC=expected_KC - half_KC,
                high_KC=expected_KC + half_KC,
                deviation_KC=deviation_RK[mine].T,
                teacher_K=np.zeros(len(view_KC), np.bool_),
                lag_K=np.zeros(len(view_KC), np.int16),
                warming=True,
            )
        )
        row += size
    return made


def _fused(row_RK: Tensor, sizes: Sequence[int]) -> Tensor:
    """The streams' surprise (S, K): the mean of the loudest ⌈C/8⌉ channels, or the loudest one alone.

    Less the chance that so many channels have: C for the loudest (Bonferroni). The mean over an eighth of the channels
    needs a mean of 10^surprise over all of at least an eighth of it: 8 times the chance at most, however they depend.
    """
    size_S = torch.tensor(sizes, device=row_RK.device)
    stream_R = torch.repeat_interleave(torch.arange(len(sizes), device=row_RK.device), size_S)
    channel_R = torch.arange(len(row_RK), device=row_RK.device) - (size_S.cumsum(0) - size_S)[stream_R]
    row_SCK = row_RK.new_full((len(sizes), max(sizes), row_RK.shape[1]), torch.nan)
    row_SCK[stream_R, channel_R] = row_RK
    many_SK = torch.isfinite(row_SCK).sum(1).clamp_min(1)
    mean_SK = fuse_channels(row_SCK) - many_SK.clamp_max(8).log10()
    alone_SK = row_SCK.nan_to_num(nan=-torch.inf).amax(1) - many_SK.log10()
    return torch.where(torch.isnan(mean_SK), torch.nan, torch.maximum(mean_SK, alone_SK).clamp_min(0.0))
