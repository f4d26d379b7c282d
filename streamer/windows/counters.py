"""Which channels of a new stream count up, judged from the points that waited for its grid."""

import numpy as np

from streamer.windows.increments import counts_up
from streamer.windows.open_window import Waiting


def counting_channels(waiting: Waiting, kind: str) -> dict[str, bool | None]:
    """Which channels count up, in order of their first appearance; None: they may turn out to.

    Args:
        kind: the stream's setting; only 'auto' lets the values decide, 'gauge' gives False and 'counter' True.
    """
    found: dict[str, bool | None] = {}
    for name in dict.fromkeys(waiting.channel):
        pairs = sorted((t, v) for t, c, v in zip(waiting.ts, waiting.channel, waiting.value, strict=True) if c == name)
        values = np.array([v for _, v in pairs if v == v])
        found[name] = counts_up(values) if kind == "auto" else kind == "counter"
    return found
