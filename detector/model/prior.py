"""The generic prior: what streams without a student are judged by, from their first window on.

It is no model and learns nothing: three discrepancies of the newest slot, each against what the same discrepancy has
been in the stream's own recent slots. The slots of a scored slot's context are, in time order: a long past, of which
only the extremes are looked at; BLOCKS blocks of BLOCK slots that say what is normal; one more block, the newest
before the slot, which may be the anomaly's own and so has no say in that; and the slot.

Shapes: R rows (stream, channel), S streams, C channels, L slots, K scored slots, N slots of the near context, B blocks,
W slots of a block, H earlier discrepancies, T largest of them, V views, X any.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from detector.model.calibration import softly
from detector.model.fusion import fuse_channels
from detector.model.interface import Segment, SegmentScore, ViewName

BLOCK, BLOCKS = 12, 11
_HISTORY = BLOCK * BLOCKS
NEAR = _HISTORY + BLOCK  # 144 slots before the scored one: what plain students see, too
# Slots, with the scored one, that a score depends on. Toggles and bursts that come once in hundreds of slots are not
# news: of the slots before the near ones the extremes are enough, and cost next to nothing.
REACH = 1024
LEAST = 16  # slots of history below which nothing is said: the 95 % quantile of fewer is anything
_ROUGH = 8  # newest changes whose median is the spread

VIEWS = [ViewName("level", 0, NEAR), ViewName("step", 0, BLOCK), ViewName("spread", 0, _ROUGH)]
LEVEL, STEP, SPREAD = range(3)

# Tail: beyond the anchor (the k-th largest of n, k = n / 16) the probability falls as a power of the distance. Noise of
# normal shape has an index of about 6 there, Student's t with 3 degrees 3: drawn to 4, as heavy as most metrics are.
_TOP = 16
_INDEX, _INDEX_WEIGHT = 4.0, 8.0
# What has never been more than x may well be 2 x: the anchor is at least so much of the largest. It keeps rows calm
# whose usual discrepancy is 0 (rare events, states) and those whose past has something large in it. These three were
# chosen by bench/cold_start.py: the calmest that still find a jump of 10 sigma after 64 slots.
_OF_LARGEST = 0.6
_BACKED = 2.5  # decades beyond log10(n + 1) that n slots back, as of students
_SAME = 1e-6  # of the level: float32 resolves 1e-7
_MOST = 1e9  # no ratio above says more
_CHUNK = 8192  # scored slots of rows at a time: 600 bytes each of context, a few times


class _Judged(NamedTuple):
    """Of the last K slots of rows."""

    row_RK: Tensor  # surprise; 0 with too little history, NaN where there is no value
    loudest_RK: Tensor  # index into VIEWS
    expected_RK: Tensor
    half_RK: Tensor  # largest distance from what was expected among the near slots
    deviation_RK: Tensor


def judge(x_RL: Tensor, count: int) -> _Judged:
    """Judge the last `count` slots of rows (R, REACH + count − 1), NaN = gap. Each depends on its own context only."""
    now_RK = x_RL[:, -count:]
    near_RKN = x_RL[:, -(NEAR + count) : -1].unfold(1, NEAR, 1)
    block_RKBW = _blocks(near_RKN)
    median_RKB = _median(block_RKBW)
    level_RK = _median(median_RKB[..., :-1])

    past_RL, span = x_RL[:, : -(BLOCK + 1)], REACH - BLOCK - 1
    there_RL = torch.isfinite(past_RL)
    total_RL = torch.nn.functional.pad(there_RL.long().cumsum(1), (1, 0))
    many_RK = total_RL[:, span:] - total_RL[:, :-span]
    high_RK = torch.where(there_RL, past_RL, -torch.inf).unfold(1, span, 1).amax(-1)
    low_RK = torch.where(there_RL, past_RL, torch.inf).unfold(1, span, 1).amin(-1)
    far_RK = torch.maximum(high_RK - level_RK, level_RK - low_RK)
    change_RL = x_RL.diff(dim=1).abs()
    smallest_RL = torch.where(change_RL > _SAME * x_RL[:, 1:].abs(), change_RL, torch.inf)
    # Of rounded values and counts: one step up or down is as little news as none.
    quantum_RK = smallest_RL[:, : -(BLOCK + 1)].unfold(1, span - 1, 1).amin(-1).nan_to_num(0.0, 0.0, 0.0)
    floor_RK = torch.maximum(quantum_RK, _SAME * level_RK.abs()).clamp_min(1e-12)

    level = _surprise(
        (now_RK - level_RK).abs(), (near_RKN[..., :_HISTORY] - level_RK[..., None]).abs(), floor_RK, far_RK
    )
    before_RK = median_RKB[..., -1]
    moved_RKH = (block_RKBW[..., 1:-1, :] - median_RKB[..., :-2, None]).abs().flatten(-2)
    step = _surprise((now_RK - before_RK).abs(), moved_RKH, floor_RK)
    rough_RK = _median(change_RL[:, -(_ROUGH + count - 1) :].unfold(1, _ROUGH, 1))
    rough_RKB = _median(_blocks(change_RL[:, -(NEAR + count) : -(BLOCK + 1)].unfold(1, _HISTORY, 1)))
    spread = _surprise(rough_RK, rough_RKB, floor_RK)

    view_RKV = torch.stack([level.surprise_RK, step.surprise_RK, spread.surprise_RK], -1)
    view_RKV = softly(view_RKV, ((many_RK + 1.0).log10() + _BACKED)[..., None])
    # The level and how it came to be there must agree: a jump or a burst within the range of the past is no news yet.
    # All are blind to what lasted one slot and is over: a median does not move for it.
    row_RK = torch.minimum(view_RKV[..., LEVEL], (view_RKV[..., LEVEL] + view_RKV[..., STEP:].amax(-1)) / 2)
    loudest_RK = view_RKV.argmax(-1)
    by_step_RK = loudest_RK == STEP
    expected_RK = torch.where(by_step_RK, before_RK, level_RK)
    half_RK = torch.where(by_step_RK, step.largest_RK, level.largest_RK)
    return _Judged(
        torch.where(torch.isfinite(now_RK), row_RK, torch.nan),
        loudest_RK,
        expected_RK,
        torch.maximum(half_RK, floor_RK),
        now_RK - expected_RK,
    )


def _blocks(x_RKN: Tensor) -> Tensor:
    """(R, K, B · W) → (R, K, B, W)."""
    return x_RKN.reshape(*x_RKN.shape[:2], -1, BLOCK)


def _median(x_XN: Tensor) -> Tensor:
    """Lower median of what is there along the last dimension; NaN where nothing is."""
    sorted_XN = x_XN.sort(-1).values  # NaN comes last
    many_X1 = torch.isfinite(x_XN).sum(-1, keepdim=True)
    return sorted_XN.gather(-1, (many_X1 - 1).clamp_min(0) // 2)[..., 0]


class _Tail(NamedTuple):
    surprise_RK: Tensor
    largest_RK: Tensor  # of the near history


def _surprise(now_RK: Tensor, before_RKH: Tensor, floor_RK: Tensor, far_RK: Tensor | None = None) -> _Tail:
    """Surprise of discrepancies against earlier ones, 0 where fewer than LEAST slots are known.

    `floor_RK` is the smallest discrepancy that is one at all; `far_RK` the largest of a longer past.
    """
    size = before_RKH.shape[-1]
    # Of medians of blocks there are few, and each stands for a block's slots.
    least = LEAST if size > BLOCKS else math.ceil(LEAST / BLOCK)
    there_RKH = torch.isfinite(before_RKH)
    many_RK = there_RKH.sum(-1)
    top_RKT = torch.where(there_RKH, before_RKH, 0.0).topk(max(1, size // _TOP), -1).values
    which_RK = (many_RK // _TOP).clamp(1, top_RKT.shape[-1])
    largest_RK = top_RKT[..., 0]
    anchor_RK = top_RKT.gather(-1, which_RK[..., None] - 1)[..., 0]
    reached_RK = largest_RK if far_RK is None else torch.fmax(largest_RK, far_RK.nan_to_num(0.0, 0.0, 0.0))
    anchor_RK = torch.maximum(torch.maximum(anchor_RK, _OF_LARGEST * reached_RK), floor_RK)
    # Hill's estimate of 1 / index from what lies beyond the anchor.
    among_RKT = torch.arange(top_RKT.shape[-1], device=top_RKT.device) < which_RK[..., None]
    excess_RKT = torch.where(among_RKT, (top_RKT / anchor_RK[..., None]).clamp_min(1.0).log(), 0.0)
    bend_RK = (excess_RKT.sum(-1) + _INDEX_WEIGHT / _INDEX) / (which_RK + _INDEX_WEIGHT)
    ratio_RK = (now_RK / anchor_RK).clamp_max(_MOST)
    start_RK = ((many_RK + 1) / which_RK).log10()
    surprise_RK = start_RK * ratio_RK.clamp_max(1.0) + ratio_RK.clamp_min(1.0).log10() / bend_RK
    # What has been seen is at most as rare as once among all that were seen, whatever shape the tail has.
    seen_RK = ((many_RK + 1) / 2).log10()
    surprise_RK = torch.where(now_RK <= reached_RK, torch.minimum(surprise_RK, seen_RK), surprise_RK)
    return _Tail(torch.where(many_RK >= least, surprise_RK, 0.0).nan_to_num(0.0), largest_RK)


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
    sizes = [segment.values_SC.shape[1] for segment in segments]
    length = REACH + width - 1
    values_RL = np.full((sum(sizes), length), np.nan, np.float32)
    row = 0
    for segment, size in zip(segments, sizes, strict=True):
        newest_SC = segment.values_SC[-length:]
        values_RL[row : row + size, length - len(newest_SC) :] = newest_SC.T
        row += size
    x_RL = torch.from_numpy(values_RL).to(device)
    rows = max(1, _CHUNK // width)
    parts = [judge(x_RL[at : at + rows], width) for at in range(0, len(x_RL), rows)]
    judged = _Judged(*(torch.cat(part) for part in zip(*parts, strict=True)))
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
