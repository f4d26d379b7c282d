"""A season as a picture: the band through a week.

Shapes: C channels, W phases of five minutes of a week from Monday 00:00
"""

import torch

from detector.model.interface import Week
from detector.model.tails import reached
from detector.model.views.season import BAND, SeasonTables, lower
from detector.model.views.season_records import within
from detector.model.views.stabilised import restored
from detector.persistence import STATISTICS


def week_of(bank: SeasonTables) -> Week:
    """Lowest, expected and highest value of the bank's rows (one stream's channels), as slots are judged by them."""
    calm_CW = torch.cat([bank.calm.repeat(1, 5), torch.ones_like(bank.calm).repeat(1, 2)], -1)
    scale_CW = bank.slot_scale.repeat(1, 7) * calm_CW
    above_C, below_C = reached(bank.tails[:, 0], BAND), reached(bank.tails[:, len(STATISTICS)], BAND)
    low_CW, high_CW = bank.low - scale_CW * below_C[:, None], bank.high + scale_CW * above_C[:, None]
    low_CW, mid_CW, high_CW = (restored(table_CW, bank.knee[:, None]) for table_CW in (low_CW, bank.mid, high_CW))
    low_CW, high_CW = within(low_CW, mid_CW, high_CW, bank.records)
    curves = lower(low_CW, bank.amount[:, None]), mid_CW, high_CW
    return Week(*(curve_CW.T.float().cpu().numpy().copy() for curve_CW in curves))
