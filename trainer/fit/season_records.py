"""Records that rows have set in five weeks, and by how much each day's differ: what is far beyond them.

Shapes: R rows, L slots, D days, K phases (blocks of a day), B coarse blocks, X the blocks that slots lie in
"""

import torch
from torch import Tensor

from trainer.fit.season_days import Days, median

_DAYS = 4  # at least
_AGAIN, _YOUNG = 2.0, 4.0  # so many times what the record is beyond a usual day's; more the fewer days there were
_SPAN, _STEPS = 0.05, 1.5  # of all that there was, and steps of a row that has steps, at least


def records(days: Days, slot_RL: Tensor, at_RL: Tensor, grain_R: Tensor) -> Tensor:
    """What `score_records` and `within` go by (R, FIGURES).

    `at_RL` is the block of each slot (`block_of`), `grain_R` the smallest difference of values, 0 where there is none.
    """
    value_RB = days.value_RDK.flatten(1)
    own_RL = value_RB.gather(1, days.at_RB).gather(1, at_RL.clamp_min(0))
    # Blocks reach further back than slots: a slot may lie as far from its block then as it does now.
    off_RL = torch.where(at_RL >= 0, slot_RL - own_RL, torch.nan)
    least_R = torch.maximum(_SPAN * (_most(value_RB) + _most(-value_RB)), _STEPS * grain_R)
    sides = []
    for sign in (-1.0, 1.0):
        worst_RD = _most(sign * days.value_RDK)
        many_R, record_R = torch.isfinite(worst_RD).sum(-1), _most(worst_RD)
        more_R = _AGAIN * (1.0 + _YOUNG / many_R.clamp_min(1)) * (record_R - median(worst_RD))
        room_R = torch.maximum(more_R, least_R)
        slot_R = torch.maximum(_most(sign * slot_RL), record_R + _most(sign * off_RL).clamp_min(0.0))
        known_R = (many_R >= _DAYS) & torch.isfinite(room_R) & (room_R > 0)
        sides += [torch.where(known_R, x, 0.0) for x in (sign * record_R, room_R, sign * slot_R)]
    return torch.stack(sides, -1)


def _most(x_RX: Tensor) -> Tensor:
    """Highest of what is there, −inf where nothing is."""
    return torch.where(torch.isfinite(x_RX), x_RX, -torch.inf).amax(-1)
