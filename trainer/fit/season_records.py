"""Records that rows have set in five weeks, and by how much each day's differ: what is far beyond them.

Shapes: R rows, L slots, D days, K phases (blocks of a day), B coarse blocks, X the blocks that slots lie in
"""

import torch
from torch import Tensor

from trainer.fit.season_days import Days, median

_DAYS = 4  # at least
_ABSURD = 10.0  # times the room without it that a day's record may be beyond all others': a glitch, which says nothing
_NEAR = 0.25  # of all that there was within which a block is near a record
_AGAIN, _YOUNG = 2.0, 4.0  # so many times what the record is beyond a usual day's; more the fewer days there were
_SPAN, _STEPS = 0.05, 1.5  # of what a usual day has, and steps of a row that has steps, at least


def records(days: Days, slot_RL: Tensor, at_RL: Tensor, grain_R: Tensor) -> Tensor:
    """What `score_records` and `within` go by (R, FIGURES).

    `at_RL` is the block of each slot (`block_of`), `grain_R` the smallest difference of values, 0 where there is none.
    """
    value_RDK = days.value_RDK
    value_RB = value_RDK.flatten(1)
    own_RL = value_RB.gather(1, days.at_RB).gather(1, at_RL.clamp_min(0))
    off_RL = torch.where(at_RL >= 0, slot_RL - own_RL, torch.nan)
    most_RD, least_RD = _most(value_RDK), -_most(-value_RDK)
    room_R = torch.maximum(_SPAN * median(most_RD - least_RD).nan_to_num(), _STEPS * grain_R)
    sides = []
    for sign, worst_RD in ((-1.0, -least_RD), (1.0, most_RD)):
        record_R, beyond_R = _record(worst_RD, room_R)
        # Blocks reach further back than slots: a slot may lie as far from a high block then as it does now.
        high_RL = sign * own_RL >= (record_R - _NEAR * (_most(most_RD) + _most(-least_RD)))[:, None]
        slot_R = torch.maximum(
            _most(sign * slot_RL), record_R + _most(torch.where(high_RL, sign * off_RL, torch.nan)).clamp_min(0.0)
        )
        known_R = (torch.isfinite(worst_RD).sum(-1) >= _DAYS) & torch.isfinite(beyond_R) & (beyond_R > 0)
        sides += [torch.where(known_R, x, 0.0) for x in (sign * record_R, beyond_R, sign * slot_R)]
    return torch.stack(sides, -1)


def joined(some: Tensor, others: Tensor) -> Tensor:
    """Records of which both are known, each (R, FIGURES): of a level that has been left as of the present one."""
    low, high = torch.minimum(some, others), torch.maximum(some, others)
    room = torch.where((some[:, [1, 4]] > 0) & (others[:, [1, 4]] > 0), high[:, [1, 4]], 0.0)
    return torch.stack([low[:, 0], room[:, 0], low[:, 2], high[:, 3], room[:, 1], high[:, 5]], -1)


def _record(worst_RD: Tensor, least_R: Tensor) -> tuple[Tensor, Tensor]:
    """Highest of the days' highest, and how far above it is far."""
    many_R = torch.isfinite(worst_RD).sum(-1)
    first_R, second_R = torch.where(torch.isfinite(worst_RD), worst_RD, -torch.inf).topk(2, -1).values.T
    usual_R = median(worst_RD)

    def room(record_R: Tensor) -> Tensor:
        return torch.maximum(_AGAIN * (1.0 + _YOUNG / many_R.clamp_min(1)) * (record_R - usual_R), least_R)

    glitch_R = first_R - second_R > _ABSURD * room(second_R)
    record_R = torch.where(glitch_R & (many_R >= _DAYS), second_R, first_R)
    return record_R, room(record_R)


def _most(x_RX: Tensor) -> Tensor:
    """Highest of what is there, −inf where nothing is."""
    return torch.where(torch.isfinite(x_RX), x_RX, -torch.inf).amax(-1)
