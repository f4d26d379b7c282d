"""How far an onset may shift: what lies outside the expectation of the next phases, but was there before at that time.

A job that begins within ten minutes of its time begins two phases of five minutes away from the usual one some nights a
month. Bands reach one phase to each side; here they get as far as a past day has gone, where an edge within a quarter of an
hour explains it. Scales and tails stay those of departures from the next phases alone: made narrower, they would call the
same onset on another night all the more surprising (docs/decisions/048).

Shapes: R rows, D days, K phases (blocks of a day), W blocks of a week
"""

import torch
from torch import Tensor

from detector.model.views import season
from detector.model.views.season import DAY_S
from trainer.fit.season_days import AHEAD, Days

SHIFT_S = 900


def shifts(days: Days, week_RW: Tensor, per_block: int) -> tuple[Tensor, Tensor]:
    """How much lower (R, K; ≤ 0) and higher (≥ 0) than the next phases' expectation a slot may be at each phase of the day.

    `per_block` slots are a block: of a job that begins within one, its mean shows as many parts less.
    """
    past_RDK = days.value_RDK[:, :-AHEAD]
    per_day = past_RDK.shape[-1]
    at_RDK = days.weekday_RD[:, :-AHEAD, None].expand_as(past_RDK)

    def of_days(x_RW: Tensor) -> Tensor:
        return x_RW.view(-1, 7, per_day).gather(1, at_RDK)

    low_RDK, high_RDK = (of_days(x) for x in season.envelope(week_RW))
    lowest_RDK, highest_RDK = (of_days(x) for x in season.envelope(week_RW, max(1, SHIFT_S * per_day // DAY_S)))
    off_RDK = past_RDK.clamp(lowest_RDK, highest_RDK) - past_RDK.clamp(low_RDK, high_RDK)
    off_RDK = per_block * off_RDK.nan_to_num()
    down_RDK = torch.maximum(off_RDK.clamp_max(0.0), lowest_RDK - low_RDK)
    up_RDK = torch.minimum(off_RDK.clamp_min(0.0), highest_RDK - high_RDK)
    return down_RDK.amin(1), up_RDK.amax(1)
