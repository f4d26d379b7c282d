"""Streams that have stopped, as against data that are late, and a pipeline that has stopped.

Silence is measured on clocks that the data plane moves: one a partition, by the marks that the streamer puts behind
the data (`streamer.received`). A mark says: everything that had come up to then stands before me. So neither a
backlog of the streamer nor one of this worker makes a stream silent, whatever was frozen, killed or away; a clock
that got no marks stands.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from streamer.contracts import StreamSettings
from streamer.timestamps import NS

# Between two marks a clock moves at most so far: twice the time between them.
MAX_STEP_S = 2.0
# After a longer way between two marks something was away, and perhaps publishers with it: every stream has its whole
# limit again, and the time that clients take to come back (10 s between two tries, of librdkafka at most).
AWAY_S = 5.0
COMING_BACK_S = 10.0
STEP_INTERVALS = 3.0
DEFAULT_INTERVALS = 30.0
# A stream that sends in bursts is silent after its limit and half as long again as it usually pauses.
PAUSES = 1.5
# So few live streams may well stop together; when more of them do, it is their network that has stopped.
FEW = 3
# That must be known before the first of them would be called silent, and no sooner than after a pause that all make.
SOON = 0.75


def limit_s(interval_ns: int, settings: StreamSettings, least_s: float) -> float:
    """Seconds of silence that are an incident for a stream."""
    return max(least_s, (settings.no_data_after or DEFAULT_INTERVALS) * interval_ns / NS)


@dataclass(slots=True)
class _Due:
    """When a stream is silent, how long it may be, and how often it sends."""

    at: float
    limit: float
    often: float  # seconds between two deliveries


@dataclass(slots=True)
class _Clock:
    """One partition's."""

    now: float = 0.0
    received_ms: int | None = None
    again: float = float("-inf")  # all streams have their whole limit again since then
    due: dict[str, _Due] = field(default_factory=dict)
    earliest: float = float("inf")  # no stream is due before


class Silence:
    """Deadlines of live streams.

    >>> silence = Silence()
    >>> for second in range(8):
    ...     silence.note_data()
    ...     silence.seen(0, "web.cpu", limit=5.0, interval_s=1.0)
    ...     if second == 0:
    ...         silence.seen(0, "db.cpu", limit=5.0, interval_s=1.0)
    ...     silence.mark(0, second * 1000)
    >>> silence.silent()
    ['db.cpu']
    """

    def __init__(self) -> None:
        self.stalled = False  # nothing arrives from anybody
        self._clocks: dict[int, _Clock] = {}
        self._now_ms = 0  # newest mark of all
        self._data_ms = 0  # newest mark when any data came
        self._patience: float | None = None  # seconds without anything that are usual; None: to be found

    def __len__(self) -> int:
        return sum(len(clock.due) for clock in self._clocks.values())

    def now(self, partition: int) -> float:
        """Seconds on a partition's clock."""
        return self._clock(partition).now

    def mark(self, partition: int, received_ms: int) -> None:
        """All that had come to the partition up to this moment (Unix ms of the streamer) has been read here."""
        clock = self._clock(partition)
        before, clock.received_ms = clock.received_ms, max(received_ms, clock.received_ms or 0)
        if not self._now_ms:
            self._data_ms = received_ms
        self._now_ms = max(self._now_ms, received_ms)
        if before is None:
            return
        step = (received_ms - before) / 1000
        if not self.stalled and not self._stalls():
            clock.now += min(max(step, 0.0), MAX_STEP_S)
        if step > AWAY_S:
            self._begin_again(clock)

    def received_ms(self, partition: int) -> int | None:
        """Up to when all that came to a partition has been read (Unix ms); None when nobody has said so yet."""
        return self._clock(partition).received_ms

    def note_data(self) -> None:
        """Data of any stream came in, in the order of marks."""
        if self.stalled:
            for clock in self._clocks.values():
                self._begin_again(clock)
        self.stalled = False
        self._data_ms = self._now_ms

    def seen(
        self,
        partition: int,
        stream: str,
        limit: float,
        interval_s: float,
        pause_s: float = 0.0,
        at: float | None = None,
    ) -> None:
        """A live stream had data (when the clock stood `at`, if not now); it may be silent for `limit` seconds.

        `pause_s`: how long it is silent by habit between two deliveries that make it good.
        """
        self._patience = None
        clock, limit = self._clock(partition), limit + PAUSES * pause_s
        due = (clock.now if at is None else at) + limit
        clock.due[stream] = _Due(due, limit, max(interval_s, pause_s))
        clock.earliest = min(clock.earliest, due)

    def sends(self, partition: int, stream: str) -> None:
        """A stream that is watched sends, but nothing that can be used: it is not silent."""
        clock = self._clock(partition)
        due = clock.due.get(stream)
        if due is not None:
            self.note_data()
            due.at = clock.now + due.limit

    def watches(self, stream: str) -> bool:
        """Whether the stream counts as live."""
        return any(stream in clock.due for clock in self._clocks.values())

    def forget(self, stream: str) -> None:
        """Deleted, paused for history, or already reported."""
        for clock in self._clocks.values():
            clock.due.pop(stream, None)

    def lose(self, partition: int) -> None:
        """The partition is another worker's now."""
        self._clocks.pop(partition, None)

    def silent(self) -> list[str]:
        """Streams past their deadline, in the order in which they fell silent; each is returned once."""
        late = sorted(pair for clock in self._clocks.values() for pair in self._late(clock))
        return [stream for _, stream in late]

    def _late(self, clock: _Clock) -> Iterator[tuple[float, str]]:
        if clock.now <= clock.earliest or self.stalled:
            return
        gone = [stream for stream, due in clock.due.items() if max(due.at, clock.again + due.limit) < clock.now]
        for stream in gone:
            yield clock.due.pop(stream).at, stream
        clock.earliest = min((max(d.at, clock.again + d.limit) for d in clock.due.values()), default=float("inf"))

    def _stalls(self) -> bool:
        """More than a few streams, and nothing from any of them for longer than is usual between two arrivals."""
        waited = (self._now_ms - self._data_ms) / 1000
        if waited <= MAX_STEP_S or len(self) <= FEW:
            return False
        if self._patience is None:
            every = [due for clock in self._clocks.values() for due in clock.due.values()]
            usual = 2 * max(MAX_STEP_S, STEP_INTERVALS * min(due.often for due in every))
            self._patience = min(usual, *(SOON * due.limit for due in every))
        self.stalled = waited > self._patience
        return self.stalled

    def _begin_again(self, clock: _Clock) -> None:
        clock.again = clock.now + COMING_BACK_S

    def _clock(self, partition: int) -> _Clock:
        return self._clocks.setdefault(partition, _Clock())
