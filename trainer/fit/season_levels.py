"""Levels that rows stay at and leap between, for weeks: a route, a tier, the number of replicas.

A fine ring of slots of a minute is six days: students that have never seen a leap in it call the leap rare, though the
blocks of five weeks have it every few days.

Shapes: R rows, L slots, B coarse blocks, V levels, N stays
"""

import torch
from torch import Tensor

from detector.model.views.season import LEVELS
from trainer.fit.season_days import History

_STAY_S = 1_800  # for which a row has stayed somewhere
_STEP = 5.0  # usual differences of two blocks: more is a leap
_NEAR = 3.0  # such leaps within which stays are at one level
_HELD, _KEPT = 0.8, 0.97  # shares of blocks in stays, and of their slots around their level, of a row that has levels
# How far slots may be from a level: times what all but one in a hundred are, and of the way to the next level.
_WIDE, _APART = 1.5, 0.45
# At a level that is known: two outages of half an hour are no such level.
_LONG_S, _OFTEN, _OFTEN_S = 12 * 3_600, 3, 3 * 3_600


def levels(h: History, at_RL: Tensor) -> tuple[Tensor, Tensor]:
    """Known levels (R, LEVELS) and how far slots scatter around each, 0 where there is none.

    `at_RL` is the block of each slot (`block_of`). Rows that wander, and those that have one level, have none.
    """
    slot_RL, block_RB = torch.where(h.out_RL, torch.nan, h.slot_RL), torch.where(h.out_RB, torch.nan, h.block_RB)
    level_RV, around_RV = torch.zeros(2, len(slot_RL), LEVELS)
    for row, (slot_L, block_B, at_L) in enumerate(zip(slot_RL, block_RB, at_RL, strict=True)):
        level_V, around_V = _levels(slot_L, block_B, at_L, h.block_s)
        level_RV[row, : len(level_V)], around_RV[row, : len(level_V)] = level_V, around_V
    return level_RV, around_RV


def _levels(slot_L: Tensor, block_B: Tensor, at_L: Tensor, block_s: int) -> tuple[Tensor, Tensor]:
    none = torch.zeros(0), torch.zeros(0)
    there_B = torch.isfinite(block_B)
    step_B = (block_B[1:] - block_B[:-1]).abs()
    steps = step_B[torch.isfinite(step_B)]
    if len(steps) < 2:
        return none
    values = block_B[there_B]
    leap = torch.maximum(_STEP * steps.median(), 1e-3 * (values.max() - values.min()))
    stay_B = torch.cat([torch.zeros(1, dtype=torch.long), (~(step_B <= leap)).cumsum(0)])  # a hole ends a stay
    stay = stay_B[there_B]
    many_N, sum_N, low_N, high_N = (
        torch.zeros(int(stay_B[-1]) + 1).scatter_reduce(0, stay, x, how, include_self=False)
        for x, how in ((torch.ones_like(values), "sum"), (values, "sum"), (values, "amin"), (values, "amax"))
    )
    [long] = ((many_N * block_s >= _STAY_S) & (high_N - low_N <= _NEAR * leap)).nonzero(as_tuple=True)
    if many_N[long].sum() < _HELD * len(values):
        return none
    mean_N = sum_N / many_N.clamp_min(1)
    long = long[mean_N[long].argsort()]
    level = torch.cat([torch.zeros(1, dtype=torch.long), (mean_N[long].diff() > _NEAR * leap).cumsum(0)])
    size = int(level[-1]) + 1
    if not 2 <= size <= LEVELS:
        return none
    blocks_V, sum_V, stays_V = (
        torch.zeros(size).scatter_add(0, level, x) for x in (many_N[long], sum_N[long], torch.ones(len(long)))
    )
    level_V = sum_V / blocks_V
    which_N = torch.full((len(many_N),), -1)
    which_N[long] = level
    which_L = torch.where(at_L >= 0, which_N[stay_B[at_L.clamp_min(0)]], -1)
    held_L = (which_L >= 0) & torch.isfinite(slot_L)
    if not bool(held_L.any()):
        return none
    off, which = (slot_L[held_L] - level_V[which_L[held_L]]).abs(), which_L[held_L]
    wide_V = torch.maximum(_WIDE * off.quantile(0.99), leap).expand(size)
    if values.min() >= 0:  # what is never negative scatters the more the higher it is
        wide_V = wide_V * (level_V / level_V[which].mean()).clamp_min(1.0)
    gap = level_V.diff()
    gap_V = torch.minimum(*(torch.nn.functional.pad(gap, ends, value=torch.inf) for ends in ((1, 0), (0, 1))))
    around_V = torch.minimum(wide_V, _APART * gap_V)
    known_V = (blocks_V * block_s >= _LONG_S) | ((stays_V >= _OFTEN) & (blocks_V * block_s >= _OFTEN_S))
    if (off <= around_V[which]).float().mean() < _KEPT or int(known_V.sum()) < 2:
        return none
    return level_V[known_V], around_V[known_V]
