"""Rows of few values, and how long rows stay where they are: what an unseen and an unchanging value are told by.

The fine ring of slots of 15 seconds is a day and a half: a replica that is there on workdays, or zeros of a Sunday night,
stand in the blocks of five weeks. A block whose neighbours are equal to it is as many slots of one value.

Shapes: R rows, L slots, B coarse blocks, V = FEW values
"""

import torch
from torch import Tensor

from detector.model.views import season
from detector.model.views.season import CONTEXT, FEW

_STAYS = 5  # slots that each value of a row of states has lasted


def states(slot_RL: Tensor, block_RB: Tensor, per_block: int) -> tuple[Tensor, Tensor, Tensor]:
    """Which rows have few values (R), which (R, V), NaN filled, and the longest run of each in slots; of other rows the longest of any.

    `per_block` slots are a block. NaN is no value.
    """
    run_RL = season.run_lengths(slot_RL)
    # A block alone may be the mean of slots that differ.
    run_RB = season.run_lengths(block_RB)
    run_RB = torch.where(run_RB >= (2 if per_block > 1 else 1), run_RB * per_block, 0).clamp_max(CONTEXT)
    value_RX, run_RX = torch.cat([slot_RL, block_RB], 1), torch.cat([run_RL, run_RB], 1)
    few, value, longest = zip(*(_states(x, run) for x, run in zip(value_RX, run_RX, strict=True)), strict=True)
    return torch.stack(few), torch.stack(value), torch.stack(longest)


def _states(x: Tensor, run: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    values, which = torch.unique(x[run > 0], return_inverse=True)
    value, longest = torch.full((FEW,), torch.nan), torch.zeros(FEW)
    lengths = torch.zeros(len(values)).scatter_reduce(0, which, run[run > 0].float(), "amax")
    # States stay; counts that are mostly 0 do not, and one more than ever is no new state.
    few = len(values) <= FEW and bool((lengths >= _STAYS).all())
    if few:
        value[: len(values)], longest[: len(values)] = values, lengths
    elif len(values):
        longest[0] = lengths.max()
    return torch.tensor(few), value, longest
