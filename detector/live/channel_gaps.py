"""Which channels of a stream still come while the stream goes on: a channel that ends, a stream of nulls.

Measured in the stream's own slots, by what arrives: a channel that is always five minutes late counts as well as
the others.

Shapes: C channels, H channels that came
"""

import numpy as np

# A channel must have come so often before its silence means anything: its habits show in that time.
LEAST = 8
# Gaps of a channel that may be its habit: this many, the longest; with as many as `HABIT` of a length it is one. A gap
# counts for ten times its own length.
GAPS, HABIT, COUNTS_FOR = 4, 2, 10
SHORT = 4  # slots; channels that are sent one after the other leave such gaps
AFTER_HABIT = 1.5


class ChannelGaps:
    """Of one stream, in memory only: a worker that starts counts anew.

    >>> gaps = ChannelGaps()
    >>> for slot in range(100):
    ...     gaps.note(slot, None if slot < 60 else np.array([True, False]))
    >>> gaps.ended(99, limit=30), gaps.ended(99, limit=50), gaps.never_seen(2)
    ([1], [], [])
    """

    __slots__ = ("_at_C", "_full_at", "_gaps", "_times", "_times_C")

    def __init__(self) -> None:
        self._full_at = -1  # newest slot when all channels came at once
        self._times = 0  # how often all were, up to LEAST
        self._at_C: np.ndarray | None = None  # newest slot when each was; as soon as they part
        self._times_C = np.zeros(0, np.int64)
        self._gaps: dict[int, list[tuple[int, int]]] = {}  # channel → (slot, length) of its gaps

    def note(self, slot: int, there_C: np.ndarray | None) -> None:
        """Data came when the stream's newest slot was this; None: of all channels."""
        if self._at_C is None:
            if there_C is None or there_C.all():
                self._full_at, self._times = slot, min(self._times + 1, LEAST)
                return
            self._at_C = np.full(len(there_C), self._full_at if self._times else slot)
            self._times_C = np.full(len(there_C), self._times)
        came = np.arange(len(self._at_C)) if there_C is None else there_C.nonzero()[0]
        gap_H = slot - self._at_C[came]
        for channel, gap in zip(came[gap_H > SHORT].tolist(), gap_H[gap_H > SHORT].tolist(), strict=True):
            kept = [(at, length) for at, length in self._gaps.get(channel, ()) if slot - at < COUNTS_FOR * length]
            self._gaps[channel] = sorted([*kept, (slot, gap)], key=lambda pair: -pair[1])[:GAPS]
        self._at_C[came] = slot
        self._times_C[came] += 1

    def ended(self, slot: int, limit: int) -> list[int]:
        """Channels that have not come for more than `limit` slots, nor for longer than is their habit."""
        if self._at_C is None:
            return []
        gone = np.flatnonzero((slot - self._at_C > limit) & (self._times_C >= LEAST))
        return [c for c in gone.tolist() if slot - int(self._at_C[c]) > AFTER_HABIT * self._habit(c, slot)]

    def newest(self, channel: int) -> int:
        """Newest slot when the channel came; -1: never."""
        return self._full_at if self._at_C is None else int(self._at_C[channel])

    def never_seen(self, channels: int) -> list[int]:
        """Those of so many channels that have never come."""
        if self._at_C is None:
            return [] if self._times else list(range(channels))
        return np.flatnonzero(self._times_C == 0).tolist()

    def _habit(self, channel: int, slot: int) -> int:
        lengths = sorted(n for at, n in self._gaps.get(channel, ()) if slot - at < COUNTS_FOR * n)
        return lengths[-HABIT] if len(lengths) >= HABIT else 0
