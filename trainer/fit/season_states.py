"""Rows of few values, and how long rows stay where they are: what an unseen and an unchanging value are told by.

The fine ring of slots of 15 seconds is a day and a half: a replica that is there on workdays, or zeros of a Sunday night,
stand in the blocks of five weeks. Of a row of few values, a block that the one before is equal to is as many slots of one
value; of any row that moves, means may be equal by chance, but not at the lowest and highest of all values.

Shapes: R rows, L slots, B coarse blocks, X slots and blocks
"""

import torch
from torch import Tensor

from detector.model.views import season
from detector.model.views.runs import CONTEXT, run_lengths
from detector.model.views.season import FEW, ROUNDED

# The longest of so many runs says half of how long one may be: three stays of an hour do not rule out one of three. Twice
# of no more than this, or nobody would hear of a state that stays for ever: runs are followed for CONTEXT slots.
_FEW_RUNS, _NO_LONGER = 3.0, CONTEXT / 4
# Stays of a row that rests now and then are as unlike each other as its longest is unlike its third: twice the longest is no
# wonder where that is three times the third, and four times is one in any case.
_SPREAD = 4.0
_LONG = 3  # blocks in a row that are not equal by chance, where most of a value are
_STAYS = 5  # slots that each value of a row of states has lasted


def states(slot_RL: Tensor, block_RB: Tensor, per_block: int) -> tuple[Tensor, Tensor, Tensor]:
    """Which rows have few values (R), which (R, FEW), NaN filled, and the longest run of each in slots; of other rows the longest of any.

    `per_block` slots are a block. NaN is no value.
    """
    run_RL = run_lengths(slot_RL)
    # A block alone may be the mean of slots that differ.
    stay_RB = run_lengths(block_RB)
    run_RB = torch.where(stay_RB >= min(2, per_block), stay_RB * per_block, 0).clamp_max(CONTEXT)
    exact_RB = torch.stack([_exact(*row) for row in zip(slot_RL, block_RB, strict=True)])
    value_RX, run_RX = torch.cat([slot_RL, exact_RB], 1), torch.cat([run_RL, run_RB], 1)
    lowest_R1 = torch.where(run_RX > 0, value_RX, torch.inf).amin(1, keepdim=True)
    highest_R1 = torch.where(run_RX > 0, value_RX, -torch.inf).amax(1, keepdim=True)
    near_R1 = ROUNDED * (highest_R1 - lowest_R1)
    meant_RX = (value_RX <= lowest_R1 + near_R1) | (value_RX >= highest_R1 - near_R1)
    meant_RX[:, : slot_RL.shape[1] if per_block > 1 else None] = True
    begun_RX = torch.cat([run_RL == 1, stay_RB == min(2, per_block)], 1)
    fine_X = torch.arange(run_RX.shape[1]) < slot_RL.shape[1]
    rows = zip(value_RX, run_RX, torch.where(meant_RX, run_RX, 0), begun_RX, stay_RB, strict=True)
    few, value, longest = zip(*(_states(*row, fine_X) for row in rows), strict=True)
    return torch.stack(few), torch.stack(value), torch.stack(longest)


def _exact(slot_L: Tensor, block_B: Tensor) -> Tensor:
    """Blocks, those of a slot's value as exact as it is: they are stored to a thousandth of what they depart by."""
    values, blocks = torch.unique(slot_L[torch.isfinite(slot_L)]), block_B[torch.isfinite(block_B)]
    if not 0 < len(values) <= FEW or not len(blocks):
        return block_B
    span = torch.maximum(values.max(), blocks.max()) - torch.minimum(values.min(), blocks.min())
    off, which = (block_B[:, None] - values).abs().min(-1)
    return torch.where(off <= season.near_of(values[None], span), values[which], block_B)


def _states(
    x: Tensor, run: Tensor, sure_run: Tensor, begun: Tensor, stay: Tensor, fine: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    values, which = torch.unique(x[run > 0], return_inverse=True)
    value, longest = torch.full((FEW,), torch.nan), torch.zeros(FEW)
    lengths = torch.zeros(len(values)).scatter_reduce(0, which, run[run > 0].float(), "amax")
    # States stay; counts that are mostly 0 do not, and one more than ever is no new state.
    few = len(values) <= FEW and bool((lengths >= _STAYS).all()) and not _counts(x[~fine], stay, x[fine])
    if few:
        many = [torch.zeros(len(values)).scatter_add(0, which, (begun & b)[run > 0].float()) for b in (fine, ~fine)]
        may_be = lengths * (1.0 + _FEW_RUNS / torch.maximum(*many).clamp_min(1.0))
        value[: len(values)], longest[: len(values)] = values, torch.maximum(lengths, may_be.clamp_max(_NO_LONGER))
    elif len(values):
        top, usual = float(sure_run.max()), float(max(_third(sure_run[fine]), _third(sure_run[~fine])))
        wider = top * min(max(top / usual, 2.0), _SPREAD) / 2.0 if usual >= _STAYS else top
        longest[0] = max(top, min(wider, _NO_LONGER))
    return torch.tensor(few), value, longest


def _counts(block: Tensor, stay: Tensor, slots: Tensor) -> bool:
    """Whether a value that only blocks have is seldom there for longer than by chance: the mean of a few counts.

    A weekend of zeros makes no state of them.
    """
    for value in torch.unique(block[(stay >= 2) & ~torch.isin(block, slots)]):
        there = stay[block == value]
        long = (there >= _LONG).sum() + (_LONG - 1) * (there == _LONG).sum()
        if 2 * long < len(there):
            return True
    return False


def _third(run: Tensor) -> Tensor:
    """Length of the third longest stay, 0 where there are fewer."""
    ends = run[run > torch.nn.functional.pad(run[1:], (0, 1))]
    return ends.topk(3).values[-1] if len(ends) >= 3 else run.new_zeros(())
