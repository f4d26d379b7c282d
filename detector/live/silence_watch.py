"""When the worker looks for silent streams, and what it then decides (incidents/silence.py holds the clock)."""

import time

import structlog

from detector.incidents.record import NoData
from detector.incidents.silence import FEW, Silence, limit_s
from detector.live.decisions import Decisions
from detector.live.judge import Judge
from detector.live.settings import WorkerSettings
from detector.live.streams import OwnedStreams
from streamer.host.stats import read_stats
from streamer.host.worker import Servers
from streamer.kafka.ownership import Ownership
from streamer.timestamps import NS
from streamer.windows.header import StreamHeader

log = structlog.get_logger(__name__)
PERIOD_S = 1.0
# A stream that sent shortly before this worker started is watched for silence at once, older silences are not ours.
LATELY_S = 60.0


class SilenceWatch:
    """Live streams of the owned partitions, and those of them that have stopped."""

    def __init__(
        self,
        settings: WorkerSettings,
        servers: Servers,
        streams: OwnedStreams,
        judge: Judge,
        owner: Ownership,
    ) -> None:
        self.silence = Silence()
        self.stalled = False  # nothing arrives at all; logged once
        self._settings = settings
        self._servers = servers
        self._streams = streams
        self._judge = judge
        self._owner = owner
        self._next = 0.0

    def seen(self, stream: str, interval_ns: int) -> None:
        """A live stream had data."""
        self.silence.seen(stream, self._limit(stream, interval_ns), interval_ns / NS)

    def seen_lately(self, headers: dict[str, StreamHeader]) -> None:
        """Streams that sent until just now fall silent like all others, even if this worker never gets data of them."""
        for stream, header in headers.items():
            since = time.time() - header.last_seen_ms / 1000
            if header.hi > header.history_hi and since < self._limit(stream, header.interval_ns) + LATELY_S:
                self.seen(stream, header.interval_ns)

    def forget_partition(self, partition: int) -> None:
        """Its streams are watched again from their next live data on."""
        for stream in self.silence.watched():
            if self._streams.partition(stream) == partition:
                self.silence.forget(stream)

    def _limit(self, stream: str, interval_ns: int) -> float:
        return limit_s(interval_ns, self._judge.settings_of(stream), self._settings.no_data_min_s)

    async def check(self, arrived: bool) -> Decisions | None:
        """Once a second: decisions on streams that have stopped; None when it is not time to look."""
        now = time.monotonic()
        if arrived:
            self.silence.arrived(now)
            if self.stalled:
                log.info("data arrive again")
            self.stalled = False
        if now < self._next:
            return None
        self._next = now + PERIOD_S
        if self.silence.waits(now):
            await self._stalled(now)
        decisions = Decisions(self._settings, self._streams)
        silent = [s for s in self.silence.silent() if self._streams.partition(s) in self._owner.owned]
        for stream in await self._streams.ensure(silent):
            self._open(decisions, stream)
        return decisions

    async def _stalled(self, now: float) -> None:
        if len(self.silence) <= FEW and await self._servers_well():
            self.silence.run_on(now)
            return
        self.silence.hold(now)
        if not self.stalled:
            log.warning(
                "nothing arrives from any stream: publishers, broker or streamer are away, no stream is called silent",
                streams=len(self.silence),
            )
        self.stalled = True

    def _open(self, decisions: Decisions, stream: str) -> None:
        entry, stream_state = self._streams.entries[stream], self._streams.states[stream]
        settings = self._judge.settings_of(stream)
        if stream_state.no_data is not None or entry.history or entry.state != "grid" or settings.paused:
            return
        stream_state.no_data = NoData(entry.hi + 1, entry.seen_ms)
        slots = max(1, round(self._limit(stream, entry.interval_ns) * NS / entry.interval_ns))
        decisions.no_data(stream, stream_state, settings, "open", entry.hi + slots)

    async def _servers_well(self) -> bool:
        """The broker is the one we know and a streamer lives: then a silence is the publishers' own."""
        if not await self._owner.cluster.same():
            return False
        return any(row["room"] == "streamer" for row in await read_stats(self._servers.redis, self._servers.keys))
