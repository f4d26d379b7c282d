"""A decoded batch → the Redis writes and the `windows` notices that follow from it.

Shapes: M cells, R records of the batch, N slots of a run, C channels, S slots of a window
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import orjson
import redis.asyncio
from aiokafka import ConsumerRecord

from streamer.contracts import StreamSettings
from streamer.placement import shard_of
from streamer.redis_client import read_together
from streamer.settings import StreamerSettings
from streamer.windows.cells import Cells
from streamer.windows.coarse import touches_closed
from streamer.windows.decode import Decoded
from streamer.windows.header import StreamHeader
from streamer.windows.keys import Keys
from streamer.windows.ledger import Ops
from streamer.windows.notices import Notices, reread_notice
from streamer.windows.open_window import OpenWindow
from streamer.windows.review import may_end
from streamer.windows.ring import StreamWindow, read_windows
from streamer.windows.stream_batch import Reread, StreamBatch, StreamOutcome

# Streams kept in memory, 1 to 2 KB each; the rest is read from Redis again when it next appears.
MAX_LIVE = 200_000

_NO_SETTINGS = StreamSettings()


@dataclass(slots=True)
class Plan:
    """What one batch of one partition asks for."""

    ops: Ops = field(default_factory=Ops)
    notices: Notices = field(default_factory=Notices)
    reread: dict[str, Reread] = field(default_factory=dict)  # by stream
    late: dict[int, int] = field(default_factory=dict)  # record index → cells older than the window
    refused: dict[int, str] = field(default_factory=dict)  # record index → why its cells were left out
    spoilt: set[str] = field(default_factory=set)  # streams some of whose points could not be used
    points: int = 0
    regrids: int = 0

    def include(self, stream: str, shard: int, outcome: StreamOutcome) -> None:
        """Join what one stream asks for to the rest."""
        if outcome.writes.writes:
            self.ops.shard(shard).writes.extend(outcome.writes.writes)
        self.notices.extend(outcome.notices)
        if outcome.reread is not None:
            self.reread[stream] = outcome.reread
        self.late |= outcome.late
        self.refused |= outcome.refused
        if outcome.late or outcome.refused:
            self.spoilt.add(stream)
        self.points += outcome.points
        self.regrids += outcome.regrids


class Ingest:
    """The streams of this worker's partitions and how batches change them."""

    def __init__(
        self,
        settings: StreamerSettings,
        client: redis.asyncio.Redis,
        keys: Keys,
        of_stream: Mapping[str, StreamSettings],
    ) -> None:
        self.windows: dict[str, OpenWindow] = {}
        self._busy: Counter[str] = Counter()  # streams of batches that are being planned
        self._settings = settings
        self._client = client
        self._keys = keys
        self._of_stream = of_stream
        self._restored: dict[int, int] = {}  # partition → sequence numbers begin here: Redis has lost what they were

    def _shard(self, stream: str) -> int:
        return shard_of(stream, self._settings.partitioner)

    def forget(self, streams: Iterable[str]) -> None:
        """Drop streams from memory: another worker has them, a write failed, or they were deleted."""
        for stream in streams:
            self.windows.pop(stream, None)

    def forget_partition(self, partition: int) -> None:
        """Drop all streams of a partition."""
        self.forget([s for s in self.windows if self._shard(s) % self._settings.partitions == partition])

    def _make_room(self, more: int) -> None:
        """Drop those that came into memory first, but for the streams of batches that are being planned: other
        partitions' batches run at the same time."""
        if len(self.windows) + more <= MAX_LIVE:
            return
        target = MAX_LIVE - more - MAX_LIVE // 16  # some more, so that not every batch has to look
        for stream in [stream for stream in self.windows if stream not in self._busy]:
            if len(self.windows) <= target:
                break
            del self.windows[stream]

    def restore_partition(self, partition: int) -> None:
        """Redis has lost data of the partition: what it has is not what readers of `windows` have seen."""
        self.forget_partition(partition)
        self._restored[partition] = time.time_ns() // 1_000_000

    def _header(self, stream: str, stored: bytes | None) -> StreamHeader:
        """The stream's header, as stored or new.

        Whoever reads `windows` drops what has a sequence number at or below the newest one: a stream that begins anew
        (deleted and still published, or lost by Redis) must not begin below its former life. It begins at the
        milliseconds since 1970; no stream has a thousand notices a second for long.
        """
        if stored is None:
            return StreamHeader(seq=time.time_ns() // 1_000_000)
        header = StreamHeader.from_json(stored)
        header.seq = max(header.seq, self._restored.get(self._shard(stream) % self._settings.partitions, 0))
        return header

    async def fetch_missing(self, streams: Sequence[str]) -> None:
        """Read the streams that are not in memory from Redis, in one round trip."""
        missing = [stream for stream in streams if stream not in self.windows]
        if not missing:
            return
        self._make_room(len(missing))
        pipe = self._client.pipeline(transaction=False)
        for stream in missing:
            shard = self._shard(stream)
            read_together(pipe, self._keys.header(shard, stream), self._keys.recent(shard, stream))
            pipe.lrange(self._keys.waiting(shard, stream), 0, -1)
        # A key of another kind reads as an error here, and is replaced when the stream is written (apply.lua).
        rows = await pipe.execute(raise_on_error=False)
        for row in rows:
            if isinstance(row, Exception) and "WRONGTYPE" not in str(row):
                raise row
        for stream, (head, recent), waiting in zip(missing, rows[::2], rows[1::2], strict=True):
            window = OpenWindow(self._header(stream, head), self._settings.lateness_slots)
            window.mean = self._settings_of(stream).same_slot == "mean"
            window.restore_rows(recent or b"")
            for chunk in () if isinstance(waiting, Exception) else waiting:
                window.waiting.extend(*zip(*orjson.loads(chunk), strict=True))
            self.windows[stream] = window

    def _settings_of(self, stream: str) -> StreamSettings:
        return self._of_stream.get(stream, _NO_SETTINGS)

    async def plan(
        self, batch: Decoded, records: Sequence[ConsumerRecord], applied: Callable[[int], int], old_until: int = 0
    ) -> Plan:
        """Writes and notices of a batch. `applied` gives a shard's last applied offset.

        Records at or below it are not applied again, but their streams are notified again. Records below `old_until`
        were applied before Redis lost them: they are history now, learnt from and never alerted on.
        """
        self._busy.update(batch.streams)
        try:
            return await self._plan(batch, records, applied, old_until)
        finally:
            self._busy.subtract(batch.streams)
            self._busy = +self._busy

    async def _plan(
        self, batch: Decoded, records: Sequence[ConsumerRecord], applied: Callable[[int], int], old_until: int
    ) -> Plan:
        await self.fetch_missing(batch.streams)
        offset_R = np.array([record.offset for record in records], np.int64)
        parts = []
        for stream, chosen in _by_stream(batch):
            shard = self._shard(stream)
            parts.append((stream, shard, chosen, offset_R[batch.record_M[chosen]] > applied(shard)))
        rings = await self._rings_needed(batch, parts)
        plan = Plan()
        batch.history_R |= offset_R < old_until
        stamp_R = np.array([record.timestamp for record in records], np.int64)
        names = [channel for _, channel in batch.channels]
        for stream, shard, chosen, new_M in parts:
            part = StreamBatch(
                stream, self.windows[stream], self._keys.of_stream(shard, stream), self._settings_of(stream),
                self._settings.capacity, rings.get(stream),
            )  # fmt: skip
            if new_M.any():
                cells = _cells(batch, names, chosen[new_M])
                part.advance(cells, offset_R, stamp_R)
            if not new_M.all():
                part.repeat(batch.ts_M[chosen[~new_M]])
            plan.include(stream, shard, part.outcome)
        return plan

    async def _rings_needed(
        self, batch: Decoded, parts: Sequence[tuple[str, int, np.ndarray, np.ndarray]]
    ) -> dict[str, StreamWindow]:
        """Windows of streams that show a channel they did not have (their rings are laid out anew), points for blocks
        that only the coarse ring knows, or another grid."""
        needed = {
            batch.streams[at]
            for at, channel in batch.channels
            if (window := self.windows[batch.streams[at]]).header.hi >= 0 and channel not in window.header.channels
        }
        for stream, _, chosen, new_M in parts:
            header = self.windows[stream].header
            head = header.coarse
            if self.windows[stream].doubted and self._settings_of(stream).kind == "auto":
                needed.add(stream)
            if head is not None and touches_closed(head, int(batch.ts_M[chosen].min()) // head.block_ns):
                needed.add(stream)
            if header.hi >= 0 and not self._settings_of(stream).interval_s and may_end(header.review, int(new_M.sum())):
                ahead = replace(header.review, watch=None if header.review.watch is None else [*header.review.watch])
                if ahead.scan(header.interval_ns, header.state == "grid", batch.ts_M[chosen[new_M]]) is not None:
                    needed.add(stream)
        return await read_windows(self._client, self._keys, sorted(needed), self._settings.partitioner, as_stored=True)

    async def reread(self, plan: Plan) -> None:
        """After the write: complete the notices whose values only Redis has."""
        windows = await read_windows(self._client, self._keys, sorted(plan.reread), self._settings.partitioner)
        for stream, (first, last, seq) in plan.reread.items():
            window = windows.get(stream)
            if window is None:
                continue
            header = window.header
            first, last = max(first, header.lo), min(last, header.hi)
            values_NC = window.values_SC[max(first - header.lo, 0) : last - header.lo + 1]
            if len(values_NC):
                notice = reread_notice(stream, header, seq, first, values_NC, history=last <= header.history_hi)
                plan.notices.extend([notice])


def _by_stream(batch: Decoded) -> Iterable[tuple[str, np.ndarray]]:
    """Each stream with the indices of its cells, in order of arrival."""
    if not batch.channels:
        return
    stream_M = np.array([at for at, _ in batch.channels], np.int64)[batch.column_M]
    order = np.argsort(stream_M, kind="stable")
    bounds = np.searchsorted(stream_M[order], np.arange(len(batch.streams) + 1))
    for at, stream in enumerate(batch.streams):
        yield stream, order[bounds[at] : bounds[at + 1]]


def _cells(batch: Decoded, names: Sequence[str], chosen: np.ndarray) -> Cells:
    record_M = batch.record_M[chosen]
    return Cells(
        batch.ts_M[chosen],
        [names[column] for column in batch.column_M[chosen].tolist()],
        batch.value_M[chosen],
        batch.history_R[record_M],
        record_M,
    )
