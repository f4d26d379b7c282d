"""How the generic prior judges rows: three discrepancies of the newest slot, each against its own recent past.

Shapes: R rows (stream, channel), L slots, K scored slots, N slots of a stretch of the context, B blocks, V views
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from detector.model.calibration import softly
from detector.model.interface import ViewName
from detector.model.prior_tail import median, surprise

BLOCK, BLOCKS = 12, 11
_HISTORY = BLOCK * BLOCKS
NEAR = _HISTORY + BLOCK  # 144 slots before the scored one: what plain students see, too
# Slots, with the scored one, that a score depends on. Toggles and bursts that come once in hundreds of slots are not
# news: of the slots before the near ones the extremes are enough, and cost next to nothing.
REACH = 1024
LEAST = 16  # slots of history below which nothing is judged: the 95 % quantile of fewer is anything
_ROUGH = 8  # newest changes whose median is the spread

VIEWS = [ViewName("level", 0, NEAR), ViewName("step", 0, BLOCK), ViewName("spread", 0, _ROUGH)]
LEVEL, STEP, SPREAD = range(3)

_BACKED = 2.5  # decades beyond log10(n + 1) that n slots back, as of students
_SAME = 1e-6  # of the level: float32 resolves 1e-7


class PriorJudgement(NamedTuple):
    """The prior's judgement of the last K slots of rows."""

    row_RK: Tensor  # surprise; 0 with too little history, NaN where there is no value
    loudest_RK: Tensor  # index into VIEWS
    expected_RK: Tensor
    half_RK: Tensor  # largest distance from what was expected among the near slots
    deviation_RK: Tensor


def judge(x_RL: Tensor, count: int) -> PriorJudgement:
    """Judge the last `count` slots of rows (R, REACH + count − 1), NaN = gap. Each depends on its own context only."""
    now_RK = x_RL[:, -count:]
    near_RKN = x_RL[:, -(NEAR + count) : -1].unfold(1, NEAR, 1)
    block_RKBN = _blocks(near_RKN)
    median_RKB = median(block_RKBN)
    level_RK = median(median_RKB[..., :-1])

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

    level = surprise(
        (now_RK - level_RK).abs(), (near_RKN[..., :_HISTORY] - level_RK[..., None]).abs(), floor_RK, LEAST, far_RK
    )
    before_RK = median_RKB[..., -1]
    moved_RKN = (block_RKBN[..., 1:-1, :] - median_RKB[..., :-2, None]).abs().flatten(-2)
    step = surprise((now_RK - before_RK).abs(), moved_RKN, floor_RK, LEAST)
    rough_RK = median(change_RL[:, -(_ROUGH + count - 1) :].unfold(1, _ROUGH, 1))
    rough_RKB = median(_blocks(change_RL[:, -(NEAR + count) : -(BLOCK + 1)].unfold(1, _HISTORY, 1)))
    # Of medians of blocks there are few, and each stands for the slots of a block.
    spread = surprise(rough_RK, rough_RKB, floor_RK, math.ceil(LEAST / BLOCK))

    view_RKV = torch.stack([level.surprise_RK, step.surprise_RK, spread.surprise_RK], -1)
    view_RKV = softly(view_RKV, ((many_RK + 1.0).log10() + _BACKED)[..., None])
    # The level and how it came to be there must agree: a jump or a burst within the range of the past is no news yet.
    # All are blind to what lasted one slot and is over: a median does not move for it.
    row_RK = torch.minimum(view_RKV[..., LEVEL], (view_RKV[..., LEVEL] + view_RKV[..., STEP:].amax(-1)) / 2)
    loudest_RK = view_RKV.argmax(-1)
    by_step_RK = loudest_RK == STEP
    expected_RK = torch.where(by_step_RK, before_RK, level_RK)
    half_RK = torch.where(by_step_RK, step.largest_RK, level.largest_RK)
    return PriorJudgement(
        torch.where(torch.isfinite(now_RK), row_RK, torch.nan),
        loudest_RK,
        expected_RK,
        torch.maximum(half_RK, floor_RK),
        now_RK - expected_RK,
    )


def _blocks(x_RKN: Tensor) -> Tensor:
    """Blocks (R, K, B, BLOCK) of a stretch."""
    return x_RKN.reshape(*x_RKN.shape[:2], -1, BLOCK)
