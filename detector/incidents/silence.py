"""Streams that have stopped, as against a pipeline that has stopped.

Silence is measured on a clock that runs only while data of other streams arrive: when nothing arrives at all, it is
the pipeline that is silent (a broker, a network, this worker catching up), and no stream is blamed for it.
"""

from streamer.contracts import StreamSettings
from streamer.timestamps import NS

# Between two arrivals the clock moves at most so far, or three times the shortest interval of the live streams.
MAX_STEP_S = 2.0
STEP_INTERVALS = 3.0
DEFAULT_INTERVALS = 30.0
# So few live streams may well stop together; when more of them do, it is the pipeline that has stopped.
FEW = 3


def limit_s(interval_ns: int, settings: StreamSettings, least_s: float) -> float:
    """Seconds of silence that are an incident for a stream."""
    return max(least_s, (settings.no_data_after or DEFAULT_INTERVALS) * interval_ns / NS)


class Silence:
    """Deadlines of live streams on the pipeline's clock.

    >>> silence = Silence()
    >>> for second in range(8):
    ...     silence.arrived(float(second))
    ...     silence.seen("web.cpu", limit=5.0, interval_s=1.0)
    ...     if second == 0:
    ...         silence.seen("db.cpu", limit=5.0, interval_s=1.0)
    >>> silence.silent()
    ['db.cpu']
    """

    def __init__(self) -> None:
        self.clock = 0.0
        self._deadlines: dict[str, float] = {}
        self._arrived_at: float | None = None
        self._moved_at: float | None = None
        self._shortest_s = float("inf")

    def __len__(self) -> int:
        return len(self._deadlines)

    def arrived(self, now: float) -> None:
        """Data of at least one live stream came in (monotonic seconds)."""
        if self._moved_at is not None:
            self.clock += min(now - self._moved_at, self._step_s())
        self._arrived_at = self._moved_at = now

    def seen(self, stream: str, limit: float, interval_s: float) -> None:
        """A live stream had data; it is silent `limit` seconds of the clock from now on."""
        self._deadlines[stream] = self.clock + limit
        self._shortest_s = min(self._shortest_s, interval_s)

    def watches(self, stream: str) -> bool:
        """Whether the stream counts as live."""
        return stream in self._deadlines

    def watched(self) -> list[str]:
        """Streams that count as live."""
        return list(self._deadlines)

    def forget(self, stream: str) -> None:
        """Deleted, given away, paused for history, or already reported."""
        self._deadlines.pop(stream, None)

    def clear(self) -> None:
        """Forget all streams."""
        self._deadlines.clear()

    def waiting_s(self, now: float) -> float:
        """Seconds since anything arrived."""
        return 0.0 if self._arrived_at is None else now - self._arrived_at

    def waits(self, now: float) -> bool:
        """Nothing has arrived from any live stream for longer than is usual between two arrivals."""
        return bool(self._deadlines) and self.waiting_s(now) > 2 * self._step_s()

    def run_on(self, now: float) -> None:
        """Nothing arrives, but all servers are known to be well and the live streams are few: time counts."""
        if self._moved_at is not None:
            self.clock += now - self._moved_at
        self._moved_at = now

    def hold(self, now: float) -> None:
        """Nothing arrives and it is not the streams' fault: this time does not count."""
        self._moved_at = now

    def silent(self) -> list[str]:
        """Streams past their deadline, in the order in which they fell silent; each is returned once."""
        late = sorted((deadline, stream) for stream, deadline in self._deadlines.items() if deadline < self.clock)
        for _, stream in late:
            del self._deadlines[stream]
        return [stream for _, stream in late]

    def _step_s(self) -> float:
        return MAX_STEP_S if self._shortest_s == float("inf") else max(MAX_STEP_S, STEP_INTERVALS * self._shortest_s)
