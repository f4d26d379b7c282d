"""Streams and channels that have stopped: what the worker hears, and what it then decides.

`incidents/silence.py` holds the clocks of whole streams, `live/channel_gaps.py` knows channels of a stream that goes on.
"""

import time

import structlog

from detector.incidents.record import NoData, StreamState
from detector.incidents.silence import Silence, limit_s
from detector.live.cache import Entry
from detector.live.decisions import Decisions
from detector.live.judge import Judge
from detector.live.settings import WorkerSettings
from detector.live.streams import OwnedStreams
from streamer.kafka.ownership import Ownership
from streamer.timestamps import NS
from streamer.windows.header import StreamHeader
from streamer.windows.pauses import usual_ms
from streamer.windows.wire import WindowBatch

log = structlog.get_logger(__name__)
# A stream that sent so long before this worker started is watched at once: it may have stopped while nobody looked.
# What has stopped before is past; and who was told of it is in the stream's state.
LATELY_S = 86_400.0
UNMARKED_S = 60.0  # marks come once a second; a rebalance or a restart takes seconds


class SilenceWatch:
    """Live streams of the owned partitions, and those of them that have stopped."""

    def __init__(self, settings: WorkerSettings, streams: OwnedStreams, judge: Judge, owner: Ownership) -> None:
        self.silence = Silence()
        self._stalled = False  # nothing arrives at all; logged once
        self._marked: dict[int, float] = {}  # when each partition was last marked, by our clock
        self._blind: set[int] = set()  # partitions without marks; logged once
        self._settings = settings
        self._streams = streams
        self._judge = judge
        self._owner = owner

    def read(self, partition: int, batch: WindowBatch) -> float:
        """A message of `windows` was read; returns what the partition's clock says before its changes."""
        now = self.silence.now(partition)
        if batch.streams:
            self.silence.note_data()
        for stream in batch.refused:
            self.silence.sends(partition, stream)
        if batch.received_ms is not None:
            self.silence.mark(partition, batch.received_ms)
            self._marked[partition] = time.monotonic()
        return now

    def note_data(self, decisions: Decisions, entry: Entry, stream_state: StreamState, at: float) -> None:
        """A live stream had data, when its partition's clock stood `at`."""
        self.again(entry, at)
        no_data, hi = stream_state.no_data, entry.hi
        if no_data is not None and hi < no_data.anchor:
            return
        limit = self._slots(entry)
        ended = {entry.channels[channel]: entry.gaps.newest(channel) for channel in entry.gaps.ended(hi, limit)}
        settings = self._judge.settings_of(entry.stream)
        if no_data is None:
            if ended and entry.state == "grid" and not settings.paused:
                stream_state.no_data = NoData(min(ended.values()) + 1, entry.seen_ms, channels=_of(entry, [*ended]))
                stream_state.no_data.nulls = not stream_state.no_data.channels
                decisions.no_data(entry.stream, stream_state, settings, "open", hi)
            return
        # Of a channel that was silent before this worker started nothing is known until it is heard.
        never_seen = {entry.channels[channel] for channel in entry.gaps.never_seen(len(entry.channels))}
        silent = [
            c for c in entry.channels if c in ended or (c in never_seen and c in (no_data.channels or entry.channels))
        ]
        if not silent:
            decisions.no_data(entry.stream, stream_state, settings, "resolved", hi)
        elif set(silent) != set(no_data.channels or entry.channels):
            no_data.channels = _of(entry, silent)
            decisions.no_data(entry.stream, stream_state, settings, "update", hi)

    def again(self, entry: Entry, at: float) -> None:
        """A live stream sends, when its partition's clock stands `at`."""
        self._watch(entry.stream, entry.interval_ns, entry.pause_ms, at)

    def seen_lately(self, headers: dict[str, StreamHeader]) -> None:
        """Streams that sent until just now fall silent like all others, even if this worker never gets data of them."""
        for stream, header in headers.items():
            if header.hi > header.history_hi and time.time() - header.last_seen_ms / 1000 < LATELY_S:
                self._watch(stream, header.interval_ns, usual_ms(header.pauses))

    def _watch(self, stream: str, interval_ns: int, pause_ms: int, at: float | None = None) -> None:
        limit, partition = self._limit(stream, interval_ns), self._streams.partition(stream)
        self.silence.seen(partition, stream, limit, interval_ns / NS, pause_ms / 1000, at)

    def _limit(self, stream: str, interval_ns: int) -> float:
        return limit_s(interval_ns, self._judge.settings_of(stream), self._settings.no_data_min_s)

    def _slots(self, entry: Entry) -> int:
        return max(1, round(self._limit(entry.stream, entry.interval_ns) * NS / entry.interval_ns))

    def blind(self) -> int:
        """Owned partitions of which nobody says what has been received: no streamer reads them, or it is behind, or we are."""
        now = time.monotonic()
        self._marked = {p: self._marked.get(p, now) for p in self._owner.owned}
        blind = {partition for partition, at in self._marked.items() if now - at > UNMARKED_S}
        if blind - self._blind:
            log.warning(
                "what arrives in these partitions is not known: no streamer reads them, or it or this worker is behind; "
                "silence of their streams is not judged",
                partitions=sorted(blind),
            )
        elif self._blind and not blind:
            log.info("all partitions are read again")
        self._blind = blind
        return len(blind)

    async def check(self) -> Decisions | None:
        """Decisions on streams that have stopped; None when there are none."""
        if self.silence.stalled != self._stalled:
            self._stalled = self.silence.stalled
            if self._stalled:
                log.warning(
                    "nothing arrives from any stream: publishers or their network are away, no stream is called silent",
                    streams=len(self.silence),
                )
            else:
                log.info("data arrive again")
        silent = [s for s in self.silence.silent() if self._streams.partition(s) in self._owner.owned]
        if not silent:
            return None
        decisions = Decisions(self._settings, self._streams)
        for stream in await self._streams.ensure(silent):
            self._open(decisions, stream)
        return decisions

    def _open(self, decisions: Decisions, stream: str) -> None:
        entry, stream_state = self._streams.entries[stream], self._streams.states[stream]
        settings, no_data = self._judge.settings_of(stream), stream_state.no_data
        if entry.history or entry.state != "grid" or settings.paused:
            return
        if no_data is None:
            stream_state.no_data = NoData(entry.hi + 1, entry.seen_ms)
            decisions.no_data(stream, stream_state, settings, "open", entry.hi + self._slots(entry))
        elif no_data.channels:  # the others have stopped, too
            no_data.channels = []
            decisions.no_data(stream, stream_state, settings, "update", entry.hi + self._slots(entry))


def _of(entry: Entry, channels: list[str]) -> list[str]:
    """As kept in `NoData`."""
    return [] if len(channels) == len(entry.channels) else channels
