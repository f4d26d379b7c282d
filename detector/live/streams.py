"""The streams of this worker's partitions: their windows and states, and reading both from Redis in bulk.

Shapes: N slots, C channels
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import redis.asyncio
import structlog
from aiokafka import ConsumerRecord

from detector.incidents.record import StreamState, read_states
from detector.live.blocks import READ
from detector.live.cache import SLACK, UNSCORED, Entry, WindowChange, unknown, window_changes
from detector.live.counts import Census
from detector.live.fleet_budget import FleetBudget
from detector.live.settings import WorkerSettings
from streamer.errors import ContractError
from streamer.placement import home_partition, shard_of
from streamer.windows import wire
from streamer.windows.header import StreamHeader
from streamer.windows.keys import Keys
from streamer.windows.ring import StreamWindow, read_headers, read_windows
from streamer.windows.wire import FLAG_HISTORY, WindowBatch

log = structlog.get_logger(__name__)

# Streams kept in memory, 5 to 10 KB each; the rest is read from Redis again when it next appears. A tenth of them goes
# at a time, those that have been silent longest.
MAX_LIVE = 200_000
HEADERS_A_CALL = 10_000  # half a kilobyte each

BadRecord = tuple[ConsumerRecord, ContractError]
_Unread = tuple[ConsumerRecord, WindowChange]


class BatchOutcome:
    """What a batch of `windows` records changed."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}  # streams with something new
        self.replaced: list[tuple[str, StreamState]] = []  # states of grids that are no more
        self.bad: list[BadRecord] = []
        # streams with data that are not history (known already, perhaps) → what their partition's clock of silence said then
        self.live: dict[str, float] = {}
        self.unknown = 0  # changes that Redis has never heard of, passed over

    def refuse(self, record: ConsumerRecord, stream: str, why: str) -> None:
        """A change that no streamer wrote; the record's others are followed. Told once a record."""
        if not self.bad or self.bad[-1][0] is not record:
            self.bad.append((record, ContractError("windows", f"a change of {stream[:40]!r} is passed over: {why}")))


class OwnedStreams:
    """Entries and states by stream."""

    def __init__(self, settings: WorkerSettings, client: redis.asyncio.Redis, keys: Keys, context: int) -> None:
        self.entries: dict[str, Entry] = {}
        self.states: dict[str, StreamState] = {}
        self.census = Census()
        self.budget = FleetBudget(settings.alerts_per_day, client, keys)
        self._settings = settings
        self._client = client
        self._keys = keys
        self._keep = context + SLACK
        self._batch = 0  # batches so far

    def shard(self, stream: str) -> int:
        """Virtual shard of a stream."""
        return shard_of(stream, self._settings.partitioner)

    def partition(self, stream: str) -> int:
        """Home partition of a stream."""
        return home_partition(stream, self._settings.partitions, self._settings.partitioner)

    def make_room(self) -> int:
        """Forget those that have been silent longest, where there are too many; Redis has all. Returns how many.

        Between batches only: what was judged has been written then.
        """
        if len(self.entries) <= MAX_LIVE and len(self.states) <= 2 * MAX_LIVE:
            return 0
        kept = MAX_LIVE - MAX_LIVE // 10
        oldest = sorted(self.entries, key=lambda stream: self.entries[stream].batch)[: max(len(self.entries) - kept, 0)]
        gone = [*oldest, *(self.states.keys() - self.entries.keys())]
        for stream in gone:
            self.drop(stream)
        log.info("streams that have been silent longest leave memory", streams=len(gone), kept=len(self.entries))
        return len(gone)

    def drop(self, stream: str) -> None:
        """Forget a stream; Redis keeps what it has."""
        self.entries.pop(stream, None)
        self.states.pop(stream, None)
        self.census.mark(stream)

    def drop_partition(self, partition: int) -> list[str]:
        """Forget all streams of a partition; returns their names."""
        gone = [stream for stream in (self.entries.keys() | self.states) if self.partition(stream) == partition]
        for stream in gone:
            self.drop(stream)
        return gone

    async def follow_batch(
        self,
        records: Iterable[ConsumerRecord],
        applied: Callable[[int, int], int],
        mark: Callable[[int, WindowBatch], float] = lambda partition, batch: 0.0,
    ) -> BatchOutcome:
        """Bring the streams of a batch up to date.

        `applied` gives the last judged offset of (partition, shard): records at or below it are passed over. `mark` is
        told of every message of a partition, and returns what the partition's clock of silence says.

        Raises:
            redis.RedisError: Redis is away; the same batch can be followed again later.
        """
        outcome = BatchOutcome()
        self._batch += 1
        unread: dict[str, list[_Unread]] = {}  # from the first change on that the cache cannot follow
        seen: dict[str, float] = {}
        for record in records:
            try:
                batch = wire.decode(record.value or b"")
            except ContractError as error:
                outcome.bad.append((record, error))
                continue
            now = mark(record.partition, batch)
            for stream, change in window_changes(batch):
                shard = self.shard(stream)
                if shard % self._settings.partitions != record.partition:
                    outcome.refuse(record, stream, f"its home is partition {shard % self._settings.partitions}")
                    continue
                if record.offset <= applied(record.partition, shard):
                    continue
                entry, seen[stream] = self.entries.get(stream), now
                if stream in unread:
                    unread[stream].append((record, change))
                elif entry is None or entry.needs_redis(change):
                    unread[stream] = [(record, change)]
                else:
                    entry.batch = self._batch
                    if entry.follow(change):
                        outcome.entries[stream] = entry
                    elif entry.scored < entry.hi and stream not in outcome.entries:
                        # Redis was ahead of us when the stream was called silent: its data are here, and not judged.
                        entry.note_seen(change)
                        outcome.entries[stream] = entry
                    if not change.flags & FLAG_HISTORY:
                        outcome.live[stream] = now
        if unread:
            await self._load(unread, outcome, seen)
        return outcome

    async def _load(
        self, unread: Mapping[str, Sequence[_Unread]], outcome: BatchOutcome, seen: Mapping[str, float]
    ) -> None:
        streams = sorted(unread)
        windows = await self._windows(streams)
        await self.load_states(streams)
        for stream in streams:
            window = windows.get(stream)
            if window is None:  # deleted since
                self.drop(stream)
                outcome.entries.pop(stream, None)
                outcome.live.pop(stream, None)
                continue
            if self._enter(stream, window, unread[stream], outcome):
                outcome.live[stream] = seen[stream]

    def _enter(self, stream: str, window: StreamWindow, pending: Sequence[_Unread], outcome: BatchOutcome) -> bool:
        """Returns whether any of it is live."""
        header = window.header
        self.census.mark(stream)
        stream_state = self.states.get(stream)
        grid = (header.grid_version, header.phase_ns)
        if stream_state is not None and (stream_state.grid_version, stream_state.phase_ns) != grid:
            outcome.replaced.append((stream, stream_state))
            stream_state = None
            self.entries.pop(stream, None)
        own = []
        for record, change in pending:
            channels = change.values_NC.shape[1]
            if unknown(header, change):
                outcome.unknown += 1
            elif (change.grid_version, change.phase_ns) == grid:
                if channels == len(header.channels):
                    own.append(change)
                else:
                    outcome.refuse(record, stream, f"it has {channels} channels, the stream {len(header.channels)}")
        entry = self.entries.get(stream)
        if entry is None:
            first = own[0].first if own else header.hi + 1
            # A stream that has never been judged is judged from its first change on, whatever lies in Redis.
            scored = stream_state.scored if stream_state is not None and stream_state.judged else first - 1
            entry = self.entries[stream] = _entered(stream, window, self._keep, scored, stream_state)
        else:
            entry.reload(window)
        if stream_state is None:
            self.states[stream] = StreamState(header.grid_version, header.interval_ns, header.phase_ns, entry.scored)
        entry.batch = self._batch
        for change in own:
            entry.note_seen(change)
        outcome.entries[stream] = entry
        return not entry.history and bool(own)

    async def _windows(self, streams: Sequence[str]) -> dict[str, StreamWindow]:
        """Newest slots and blocks of the streams; all of those whose unjudged ones reach further back."""
        settings, keep = self._settings, self._keep
        windows = await read_windows(self._client, self._keys, streams, settings.partitioner, keep, READ)
        await self.load_states(streams)
        behind = []
        for stream, (header, *_) in windows.items():
            stream_state, entry = self.states.get(stream), self.entries.get(stream)
            scored = (
                entry.scored if entry else stream_state.scored if stream_state and stream_state.judged else header.hi
            )
            if scored < header.hi - SLACK and header.hi - header.lo + 1 >= keep:
                behind.append(stream)
        windows |= await read_windows(self._client, self._keys, behind, settings.partitioner)
        return windows

    async def load_states(self, streams: Sequence[str]) -> None:
        """Read the states of streams that are not in memory."""
        missing = [stream for stream in streams if stream not in self.states]
        shards = {stream: self.shard(stream) for stream in missing}
        found = await read_states(self._client, self._keys, shards, missing)
        self.states |= found
        for stream in found:
            self.census.mark(stream)

    async def ensure(self, streams: Sequence[str]) -> list[str]:
        """Have entries and states of streams in memory without judging anything; returns those that exist."""
        missing = [stream for stream in streams if stream not in self.entries]
        await self.load_states(streams)
        windows = await read_windows(self._client, self._keys, missing, self._settings.partitioner, self._keep, READ)
        for stream, window in windows.items():
            header = window.header
            self.census.mark(stream)
            stream_state = self.states.get(stream)
            if stream_state is None:
                stream_state = StreamState(header.grid_version, header.interval_ns, header.phase_ns, header.hi)
                self.states[stream] = stream_state
            grid = (stream_state.grid_version, stream_state.phase_ns)
            # else the next change closes what the old grid left open
            if grid == (header.grid_version, header.phase_ns):
                scored = stream_state.scored if stream_state.judged else header.hi
                self.entries[stream] = _entered(stream, window, self._keep, scored, stream_state)
        return [stream for stream in streams if stream in self.entries]

    async def headers(self, shards: Iterable[int]) -> dict[str, StreamHeader]:
        """Headers of all streams of these shards that are on a grid, in few round trips: a worker waits for them when it is
        given a partition, and begins again when Redis hiccups."""
        pipe = self._client.pipeline(transaction=False)
        for shard in shards:
            pipe.smembers(self._keys.names(shard))
        names = [name.decode() for members in await pipe.execute() for name in sorted(members)]
        found: dict[str, StreamHeader] = {}
        for at in range(0, len(names), HEADERS_A_CALL):
            some = names[at : at + HEADERS_A_CALL]
            found |= await read_headers(self._client, self._keys, some, self._settings.partitioner)
        return {stream: header for stream, header in found.items() if header.state == "grid" and header.hi >= 0}


def _entered(stream: str, window: StreamWindow, keep: int, scored: int, stream_state: StreamState | None) -> Entry:
    entry = Entry(stream, window, keep, scored)
    if stream_state is not None and stream_state.unjudged is not None:
        entry.unscored = UNSCORED  # told before: what comes from now on says whether it is still so
    return entry
