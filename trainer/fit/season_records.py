"""Records that rows have set in five weeks, and by how much each day's differ: what is far beyond them.

Shapes: R rows, D days, K phases (blocks of a day), B coarse blocks
"""

import torch
from torch import Tensor

from detector.model.views.season_records import both
from trainer.fit.season_days import Days, median

_DAYS = 4  # at least
_AGAIN, _YOUNG = 2.0, 4.0  # so many times what the record is beyond a usual day's; more the fewer days there were
_SPAN, _STEPS = 0.05, 1.5  # of all that there was, and steps of a row that has steps, at least


def records(days: Days, grain_R: Tensor) -> Tensor:
    """Lowest, room below it, highest and room above it (R, 4) of pairs of blocks; no room (0): too little is known.

    `grain_R` are the smallest differences of values, 0 where there are none.
    """
    value_RB = days.value_RDK.flatten(1)
    there_RB = torch.isfinite(value_RB)
    ends = [torch.where(there_RB, sign * value_RB, -torch.inf).amax(-1) for sign in (-1.0, 1.0)]
    least_R = torch.maximum(_SPAN * (ends[0] + ends[1]), _STEPS * grain_R)
    higher_RB, lower_RB = both(value_RB)
    sides = []
    for sign, pair_RB in ((-1.0, higher_RB), (1.0, lower_RB)):
        pair_RDK = sign * pair_RB.view_as(days.value_RDK)
        worst_RD = torch.where(torch.isfinite(pair_RDK), pair_RDK, -torch.inf).amax(-1)
        worst_RD = torch.where(torch.isfinite(worst_RD), worst_RD, torch.nan)
        many_R = torch.isfinite(worst_RD).sum(-1)
        record_R = worst_RD.nan_to_num(nan=-torch.inf).amax(-1)
        more_R = _AGAIN * (1.0 + _YOUNG / many_R.clamp_min(1)) * (record_R - median(worst_RD))
        room_R = torch.maximum(more_R, least_R)
        known_R = (many_R >= _DAYS) & torch.isfinite(room_R) & (room_R > 0)
        sides += [torch.where(known_R, sign * record_R, 0.0), torch.where(known_R, room_R, 0.0)]
    return torch.stack(sides, -1)
