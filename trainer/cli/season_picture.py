"""What a student expects of a week, in a terminal: its usual values and the band around them.

Shapes: W phases of a week, C channels
"""

from collections.abc import Sequence

import numpy as np
from rich.console import RenderableType
from rich.text import Text

from detector.model.seasons import Seasons
from detector.model.views.season import SEASONS
from detector.model.week import week_of
from streamer.cli.drawing import LABEL, chart
from trainer.report.learnt import MEANING, stays_of

WIDTH, HEIGHT, MAX_CHANNELS = 84, 8, 3  # twelve columns a day
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def season_curves(seasons: Seasons, channels: Sequence[str]) -> list[RenderableType]:
    """A curve of each channel's week, its own time zone; one line where there is no season yet."""
    if not len(seasons):
        return [Text("season: none yet (it takes two days)", style="dim")]
    bank = seasons.bank()
    week, made = week_of(bank), list[RenderableType]()
    for row, channel in list(zip(seasons.at, range(len(seasons)), strict=True))[:MAX_CHANNELS]:
        low_W, mid_W, high_W = (curve_WC[:, channel].astype(float) for curve_WC in week)
        name = SEASONS[int(bank.season[channel])]
        made.append(Text(f"\nseason of {channels[row]}: {MEANING.get(name, name)}", style="bold"))
        made += chart(mid_W, low_W, high_W, np.zeros(len(mid_W), bool), WIDTH, HEIGHT)
        made.append(Text(" " * LABEL + "".join(f"{day:<{WIDTH // 7}}" for day in _DAYS), style="dim"))
        made += [Text(f"{what}: {text}") for what, text in stays_of(seasons, row)]
    if len(seasons) > MAX_CHANNELS:
        made.append(Text(f"{len(seasons) - MAX_CHANNELS} more channels", style="dim"))
    return made
