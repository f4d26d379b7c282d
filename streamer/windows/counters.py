"""Which channels of a new stream count up, judged from the points that waited for its grid."""

import numpy as np

from streamer.windows.grid import DIFFERENCES
from streamer.windows.open_window import Waiting

# A counter shows itself while its stream waits for a grid: whole numbers that never fall, rise in at least half of
# the steps and have passed 1000, by steps that vary (equal steps are more likely a gauge that ramps up).
COUNTER_RISES = 0.5
COUNTER_LEVEL = 1000


def counting_channels(waiting: Waiting, kind: str) -> list[bool]:
    """Which channels count up, in order of their first appearance.

    Args:
        kind: the stream's setting; only 'auto' lets the values decide, 'gauge' and 'counter' give False here.
    """
    found = []
    for name in dict.fromkeys(waiting.channel):
        pairs = sorted((t, v) for t, c, v in zip(waiting.ts, waiting.channel, waiting.value, strict=True) if c == name)
        values = np.array([v for _, v in pairs if v == v])
        steps = np.diff(values)
        whole = len(steps) >= DIFFERENCES // 2 and bool((values == np.rint(values)).all() and values[0] >= 0)
        rises = whole and bool((steps >= 0).all() and (steps > 0).mean() >= COUNTER_RISES)
        counts = rises and bool(values[-1] >= COUNTER_LEVEL and np.ptp(steps) > 0)
        found.append(kind == "auto" and counts)
    return found
