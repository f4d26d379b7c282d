"""Which channels of a stream are still heard while the stream goes on: a channel that ends, a stream of nulls.

Measured in the stream's own slots, by what arrives: a channel that is always five minutes late is heard as well as
the others.

Shapes: C channels, H channels that are heard
"""

import numpy as np

# A channel must have been heard so often before its silence means anything: its habits show in that time.
LEAST = 8
# Gaps of a channel that may be its habit: this many, the longest; with as many as `HABIT` of a length it is one. A gap
# counts for ten times its own length.
GAPS, HABIT, COUNTS_FOR = 4, 2, 10
SHORT = 4  # slots; channels that are sent one after the other leave such gaps
AFTER_HABIT = 1.5


class Hearing:
    """Of one stream, in memory only: a worker that starts listens anew.

    >>> hearing = Hearing()
    >>> for slot in range(100):
    ...     hearing.hear(slot, None if slot < 60 else np.array([True, False]))
    >>> hearing.ended(99, limit=30), hearing.ended(99, limit=50), hearing.unheard(2)
    ([1], [], [])
    """

    __slots__ = ("_at_C", "_full_at", "_gaps", "_times", "_times_C")

    def __init__(self) -> None:
        self._full_at = -1  # newest slot when all channels were heard at once
        self._times = 0  # how often all were, up to LEAST
        self._at_C: np.ndarray | None = None  # newest slot when each was; as soon as they part
        self._times_C = np.zeros(0, np.int64)
        self._gaps: dict[int, list[tuple[int, int]]] = {}  # channel → (slot, length) of its gaps

    def hear(self, slot: int, there_C: np.ndarray | None) -> None:
        """Data came when the stream's newest slot was this; None: of all channels."""
        if self._at_C is None:
            if there_C is None or there_C.all():
                self._full_at, self._times = slot, min(self._times + 1, LEAST)
                return
            self._at_C = np.full(len(there_C), self._full_at if self._times else slot)
            self._times_C = np.full(len(there_C), self._times)
        heard = np.arange(len(self._at_C)) if there_C is None else there_C.nonzero()[0]
        gap_H = slot - self._at_C[heard]
        for channel, gap in zip(heard[gap_H > SHORT].tolist(), gap_H[gap_H > SHORT].tolist(), strict=True):
            kept = [(at, length) for at, length in self._gaps.get(channel, ()) if slot - at < COUNTS_FOR * length]
            self._gaps[channel] = sorted([*kept, (slot, gap)], key=lambda pair: -pair[1])[:GAPS]
        self._at_C[heard] = slot
        self._times_C[heard] += 1

    def ended(self, slot: int, limit: int) -> list[int]:
        """Channels that have not been heard for more than `limit` slots, nor for longer than is their habit."""
        if self._at_C is None:
            return []
        gone = np.flatnonzero((slot - self._at_C > limit) & (self._times_C >= LEAST))
        return [c for c in gone.tolist() if slot - int(self._at_C[c]) > AFTER_HABIT * self._habit(c, slot)]

    def heard_at(self, channel: int) -> int:
        """Newest slot when the channel was heard; -1: never."""
        return self._full_at if self._at_C is None else int(self._at_C[channel])

    def unheard(self, channels: int) -> list[int]:
        """Those of so many channels that have never been heard."""
        if self._at_C is None:
            return [] if self._times else list(range(channels))
        return np.flatnonzero(self._times_C == 0).tolist()

    def _habit(self, channel: int, slot: int) -> int:
        lengths = sorted(n for at, n in self._gaps.get(channel, ()) if slot - at < COUNTS_FOR * n)
        return lengths[-HABIT] if len(lengths) >= HABIT else 0
