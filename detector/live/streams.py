"""The streams of this worker's partitions: their windows and states, and reading both from Redis in bulk."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import redis.asyncio
import structlog
from aiokafka import ConsumerRecord

from detector.incidents.record import StreamState, read_states
from detector.live.blocks import KEPT
from detector.live.cache import SLACK, UNSCORED, Entry, WindowChange, window_changes
from detector.live.settings import WorkerSettings
from streamer.errors import ContractError
from streamer.placement import home_partition, shard_of
from streamer.windows import wire
from streamer.windows.header import StreamHeader
from streamer.windows.keys import Keys
from streamer.windows.ring import StreamWindow, read_headers, read_windows

log = structlog.get_logger(__name__)

BadRecord = tuple[ConsumerRecord, ContractError]


class BatchOutcome:
    """What a batch of `windows` records changed."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}  # streams with something new
        self.replaced: list[tuple[str, StreamState]] = []  # states of grids that are no more
        self.bad: list[BadRecord] = []
        self.live: set[str] = set()  # streams with data that are not history


class OwnedStreams:
    """Entries and states by stream."""

    def __init__(self, settings: WorkerSettings, client: redis.asyncio.Redis, keys: Keys, context: int) -> None:
        self.entries: dict[str, Entry] = {}
        self.states: dict[str, StreamState] = {}
        self._settings = settings
        self._client = client
        self._keys = keys
        self._keep = context + SLACK

    def shard(self, stream: str) -> int:
        """Virtual shard of a stream."""
        return shard_of(stream, self._settings.partitioner)

    def partition(self, stream: str) -> int:
        """Home partition of a stream."""
        return home_partition(stream, self._settings.partitions, self._settings.partitioner)

    def drop(self, stream: str) -> None:
        """Forget a stream; Redis keeps what it has."""
        self.entries.pop(stream, None)
        self.states.pop(stream, None)

    def drop_partition(self, partition: int) -> list[str]:
        """Forget all streams of a partition; returns their names."""
        gone = [stream for stream in (self.entries.keys() | self.states) if self.partition(stream) == partition]
        for stream in gone:
            self.drop(stream)
        return gone

    async def follow_batch(self, records: Iterable[ConsumerRecord], applied: Callable[[int, int], int]) -> BatchOutcome:
        """Bring the streams of a batch up to date.

        `applied` gives the last judged offset of (partition, shard): records at or below it are passed over.

        Raises:
            redis.RedisError: Redis is away; the same batch can be followed again later.
        """
        outcome = BatchOutcome()
        unread: dict[str, list[WindowChange]] = {}  # from the first change on that the cache cannot follow
        for record in records:
            try:
                batch = wire.decode(record.value or b"")
            except ContractError as error:
                outcome.bad.append((record, error))
                continue
            for stream, change in window_changes(batch):
                if record.offset <= applied(record.partition, self.shard(stream)):
                    continue
                entry = self.entries.get(stream)
                if stream in unread:
                    unread[stream].append(change)
                elif entry is None or entry.needs_redis(change):
                    unread[stream] = [change]
                elif entry.follow(change):
                    outcome.entries[stream] = entry
                    if not entry.history:
                        outcome.live.add(stream)
        if unread:
            await self._load(unread, outcome)
        return outcome

    async def _load(self, unread: Mapping[str, Sequence[WindowChange]], outcome: BatchOutcome) -> None:
        streams = sorted(unread)
        windows = await self._windows(streams)
        await self.load_states(streams)
        for stream in streams:
            window = windows.get(stream)
            if window is None:  # deleted since
                self.drop(stream)
                outcome.entries.pop(stream, None)
                continue
            self._enter(stream, window, unread[stream], outcome)

    def _enter(self, stream: str, window: StreamWindow, pending: Sequence[WindowChange], outcome: BatchOutcome) -> None:
        header = window.header
        stream_state = self.states.get(stream)
        if stream_state is not None and stream_state.grid_version != header.grid_version:
            outcome.replaced.append((stream, stream_state))
            stream_state = None
            self.entries.pop(stream, None)
        own = [change for change in pending if change.grid_version == header.grid_version]
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
        for change in own:
            if not entry.follow(change):
                entry.note_seen(change)
        outcome.entries[stream] = entry
        if not entry.history and own:
            outcome.live.add(stream)

    async def _windows(self, streams: Sequence[str]) -> dict[str, StreamWindow]:
        """Newest slots of the streams; all slots of those whose unjudged ones reach further back."""
        settings, keep = self._settings, self._keep
        windows = await read_windows(self._client, self._keys, streams, settings.partitioner, keep, KEPT)
        await self.load_states(streams)
        behind = []
        for stream, (header, *_) in windows.items():
            stream_state, entry = self.states.get(stream), self.entries.get(stream)
            scored = (
                entry.scored if entry else stream_state.scored if stream_state and stream_state.judged else header.hi
            )
            if scored < header.hi - SLACK and header.hi - header.lo + 1 >= keep:
                behind.append(stream)
        windows |= await read_windows(self._client, self._keys, behind, settings.partitioner, last_blocks=KEPT)
        return windows

    async def load_states(self, streams: Sequence[str]) -> None:
        """Read the states of streams that are not in memory."""
        missing = [stream for stream in streams if stream not in self.states]
        shards = {stream: self.shard(stream) for stream in missing}
        self.states |= await read_states(self._client, self._keys, shards, missing)

    async def ensure(self, streams: Sequence[str]) -> list[str]:
        """Have entries and states of streams in memory without judging anything; returns those that exist."""
        missing = [stream for stream in streams if stream not in self.entries]
        await self.load_states(streams)
        windows = await read_windows(self._client, self._keys, missing, self._settings.partitioner, self._keep, KEPT)
        for stream, window in windows.items():
            header = window.header
            stream_state = self.states.get(stream)
            if stream_state is None:
                stream_state = StreamState(header.grid_version, header.interval_ns, header.phase_ns, header.hi)
                self.states[stream] = stream_state
            if (
                stream_state.grid_version == header.grid_version
            ):  # else the next change closes what the old grid left open
                scored = stream_state.scored if stream_state.judged else header.hi
                self.entries[stream] = _entered(stream, window, self._keep, scored, stream_state)
        return [stream for stream in streams if stream in self.entries]

    async def headers(self, shards: Iterable[int]) -> dict[str, StreamHeader]:
        """Headers of all streams of these shards that are on a grid, shard by shard."""
        found: dict[str, StreamHeader] = {}
        for shard in shards:
            pipe = self._client.pipeline(transaction=False)
            pipe.smembers(self._keys.names(shard))
            (members,) = await pipe.execute()
            names = sorted(name.decode() for name in members)
            found |= await read_headers(self._client, self._keys, names, self._settings.partitioner)
        return {stream: header for stream, header in found.items() if header.state == "grid" and header.hi >= 0}


def _entered(stream: str, window: StreamWindow, keep: int, scored: int, stream_state: StreamState | None) -> Entry:
    entry = Entry(stream, window, keep, scored)
    if stream_state is not None and stream_state.unjudged is not None:
        entry.unscored = UNSCORED  # told before: what comes from now on says whether it is still so
    return entry
