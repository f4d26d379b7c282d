"""A decoded batch → the Redis writes and the `windows` notifications that follow from it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
import redis.asyncio
import structlog
from aiokafka import ConsumerRecord

from streamer.contracts import MAX_CHANNELS, StreamSettings
from streamer.placement import shard_of
from streamer.settings import StreamerSettings
from streamer.windows.decode import Decoded
from streamer.windows.grid import DIFFERENCES, Grid, given_grid, infer_grid, slots_of
from streamer.windows.header import StreamHeader
from streamer.windows.keys import Keys
from streamer.windows.ledger import Ops, ShardOps
from streamer.windows.live import Live, Waiting, wrap
from streamer.windows.notices import Notices
from streamer.windows.ring import StreamWindow, read_windows

log = structlog.get_logger(__name__)

# A stream that repeats the same instants never gets an interval; what waits for one is bounded.
MAX_WAITING = 4096
# A counter announces itself while its stream waits for a grid: whole numbers, large by now, that never fall and
# mostly rise, by steps that vary (a ramp of equal steps says the same as a gauge, and is more likely one).
COUNTER_RISES = 0.5
COUNTER_LEVEL = 1000
# Streams kept in hand; the rest is read from Redis again when it is next seen.
MAX_LIVE = 200_000

_NO_SETTINGS = StreamSettings()


@dataclass(slots=True)
class Plan:
    """What one batch of one partition asks for."""

    ops: Ops = field(default_factory=Ops)
    notices: Notices = field(default_factory=Notices)
    # stream → (first, last slot, sequence number): ranges whose values are read from Redis after the write
    reread: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    late: dict[int, int] = field(default_factory=dict)  # record index → cells older than the window
    refused: dict[int, str] = field(default_factory=dict)  # record index → why its cells were not taken
    points: int = 0


class Ingest:
    """The streams of this worker's partitions and how batches change them."""

    def __init__(
        self,
        settings: StreamerSettings,
        client: redis.asyncio.Redis,
        keys: Keys,
        of_stream: Mapping[str, StreamSettings],
    ) -> None:
        self.live: dict[str, Live] = {}
        self._settings = settings
        self._client = client
        self._keys = keys
        self._of_stream = of_stream

    def _shard(self, stream: str) -> int:
        return shard_of(stream, self._settings.partitioner)

    def forget(self, streams: Iterable[str]) -> None:
        """Drop streams from memory: another worker has them, a write failed, or they were deleted."""
        for stream in streams:
            self.live.pop(stream, None)

    def forget_partition(self, partition: int) -> None:
        """Drop all streams of a partition."""
        self.forget([s for s in self.live if self._shard(s) % self._settings.partitions == partition])

    async def load(self, streams: Sequence[str]) -> None:
        """Bring streams that are not in hand from Redis, in one round trip."""
        missing = [stream for stream in streams if stream not in self.live]
        if not missing:
            return
        if len(self.live) + len(missing) > MAX_LIVE:
            self.live.clear()
            missing = list(streams)
        pipe = self._client.pipeline(transaction=False)
        for stream in missing:
            shard = self._shard(stream)
            pipe.mget(self._keys.header(shard, stream), self._keys.recent(shard, stream))
            pipe.lrange(self._keys.waiting(shard, stream), 0, -1)
        rows = await pipe.execute()
        for stream, (head, recent), waiting in zip(missing, rows[::2], rows[1::2], strict=True):
            live = Live(StreamHeader() if head is None else StreamHeader.loads(head), self._settings.lateness_slots)
            live.mean = self._of(stream).same_slot == "mean"
            live.load_rows(recent or b"")
            for chunk in waiting:
                _extend(live.waiting, *zip(*orjson.loads(chunk), strict=True))
            self.live[stream] = live

    def _of(self, stream: str) -> StreamSettings:
        return self._of_stream.get(stream, _NO_SETTINGS)

    async def plan(self, batch: Decoded, records: Sequence[ConsumerRecord], applied: Callable[[int], int]) -> Plan:
        """Writes and notifications of a batch. `applied` gives a shard's last applied offset.

        Records at or below it are not applied again, but their streams are notified again.
        """
        await self.load(batch.streams)
        rings = await self._rings_to_widen(batch)
        plan = Plan()
        offset_R = np.array([record.offset for record in records], np.int64)
        stamp_R = np.array([record.timestamp for record in records], np.int64)
        stream_M = np.array([at for at, _ in batch.channels], np.int64)[batch.column_M] if batch.channels else []
        order = np.argsort(stream_M, kind="stable")
        bounds = np.searchsorted(np.asarray(stream_M)[order], np.arange(len(batch.streams) + 1))
        for at, stream in enumerate(batch.streams):
            chosen = order[bounds[at] : bounds[at + 1]]
            record_M = batch.record_M[chosen]
            done = applied(self._shard(stream))
            new = offset_R[record_M] > done
            job = _Job(self, plan, stream, batch, offset_R, stamp_R, rings.get(stream))
            if new.any():
                job.advance(chosen[new])
            if not new.all():
                job.again(chosen[~new])
        return plan

    async def _rings_to_widen(self, batch: Decoded) -> dict[str, StreamWindow]:
        """Windows of streams that show a channel they did not have: their rings are laid out anew."""
        wider = {
            batch.streams[at]
            for at, channel in batch.channels
            if (live := self.live[batch.streams[at]]).header.hi >= 0 and channel not in live.header.channels
        }
        return await read_windows(self._client, self._keys, sorted(wider), self._settings.partitioner)

    async def reread(self, plan: Plan) -> None:
        """After the write: complete the notifications whose values only Redis has."""
        windows = await read_windows(self._client, self._keys, sorted(plan.reread), self._settings.partitioner)
        for stream, (first, last, seq) in plan.reread.items():
            window = windows.get(stream)
            if window is None:
                continue
            header = window.header
            first, last = max(first, header.lo), min(last, header.hi)
            values_NC = window.values_SC[max(first - header.lo, 0) : last - header.lo + 1]
            if len(values_NC):
                plan.notices.add(stream, header, seq, first, values_NC, late=True, history=last <= header.history_hi)


@dataclass(slots=True)
class _Job:
    """One stream of one batch."""

    owner: Ingest
    plan: Plan
    stream: str
    batch: Decoded
    offset_R: np.ndarray
    stamp_R: np.ndarray
    ring: StreamWindow | None

    @property
    def live(self) -> Live:
        return self.owner.live[self.stream]

    def _ops(self) -> ShardOps:
        return self.plan.ops.shard(self.owner._shard(self.stream))

    def _key(self, kind: str) -> str:
        make: Callable[[int, str], str] = getattr(self.owner._keys, kind)
        return make(self.owner._shard(self.stream), self.stream)

    def again(self, chosen: np.ndarray) -> None:
        """Cells of records that were applied before a crash: tell the detector again, with a new number."""
        header = self.live.header
        if header.hi < 0:
            return
        slot_M = slots_of(self.batch.ts_M[chosen], header.interval_ns, header.phase_ns)
        first, last = max(int(slot_M.min()), header.lo), min(int(slot_M.max()), header.hi)
        if last >= first:
            self._tell_from_redis(first, last)
            self._ops().set(self._key("header"), header.dumps())

    def _tell_from_redis(self, first: int, last: int) -> None:
        known = self.plan.reread.get(self.stream)
        if known is not None:
            first, last = min(first, known[0]), max(last, known[1])
        # Two numbers further: the detector sees a gap and reads the whole window itself. Always after the stream's
        # other notifications of the batch, or it would be dropped as an older one.
        self.live.header.seq += 2
        self.plan.reread[self.stream] = (first, last, self.live.header.seq)

    def advance(self, chosen: np.ndarray) -> None:
        """Apply cells, in order of arrival."""
        batch, live = self.batch, self.live
        header = live.header
        record_M = batch.record_M[chosen]
        if header.points == 0:
            self._ops().sadd(self.owner._keys.names(self.owner._shard(self.stream)), self.stream)
        header.points += len(chosen)
        header.last_seen_ms = max(header.last_seen_ms, int(self.stamp_R[record_M].max()))
        self.plan.points += len(chosen)
        names = [channel for _, channel in batch.channels]
        name_M = [names[c] for c in batch.column_M[chosen]]
        ts_M, value_M, history_M = batch.ts_M[chosen], batch.value_M[chosen], batch.history_R[record_M]
        settings = self.owner._of(self.stream)
        if settings.interval_s and header.interval_ns and header.state != "waiting":
            wanted = given_grid(settings.interval_s, int(ts_M[0]))
            if wanted.interval_ns != header.interval_ns:
                header = self._leave_grid()
        live = self.live
        if header.state == "waiting":
            waiting = live.waiting
            if settings.interval_s:
                grid = given_grid(settings.interval_s, waiting.ts[0] if waiting.ts else int(ts_M[0]))
                first_names = waiting.channel or [n for n, r in zip(name_M, record_M, strict=True) if r == record_M[0]]
                self._enter_grid(grid, first_names, [])
            else:
                taken = self._wait(ts_M, name_M, value_M, history_M, record_M)
                if header.state == "waiting":
                    return
                ts_M, value_M, history_M = ts_M[taken:], value_M[taken:], history_M[taken:]
                name_M, record_M = name_M[taken:], record_M[taken:]
            # what waited comes first; its records are those of earlier batches, or of this one up to the grid
            ts_M = np.concatenate([np.array(waiting.ts, np.int64), ts_M])
            value_M = np.concatenate([np.array(waiting.value, np.float64), value_M])
            history_M = np.concatenate([np.array(waiting.history, bool), history_M])
            record_M = np.concatenate([np.full(len(waiting.ts), batch.record_M[chosen[0]]), record_M])
            name_M = waiting.channel + name_M
            self._ops().delete(self._key("waiting"))
        self._apply(ts_M, name_M, value_M, history_M, record_M)

    def _wait(
        self, ts_M: np.ndarray, name_M: list[str], value_M: np.ndarray, history_M: np.ndarray, record_M: np.ndarray
    ) -> int:
        """Collect cells until the grid can be inferred; returns how many were taken in before that."""
        live = self.live
        seen = set(live.waiting.ts)
        need = len(ts_M)
        for i, ts in enumerate(ts_M.tolist()):
            seen.add(ts)
            if len(seen) > DIFFERENCES:
                need = i + 1
                break
        room = max(0, MAX_WAITING - len(live.waiting.ts))
        taken = min(need, room)
        new = (ts_M[:taken].tolist(), name_M[:taken], value_M[:taken].tolist(), history_M[:taken].tolist())
        _extend(live.waiting, *new)
        if len(seen) > DIFFERENCES and taken == need:
            grid = infer_grid(np.array(live.waiting.ts, np.int64))
            self._enter_grid(
                grid, live.waiting.channel, counting_channels(live.waiting, self.owner._of(self.stream).kind)
            )
            return taken
        for i in np.unique(record_M[taken:]):
            self.plan.refused[int(i)] = (
                f"{MAX_WAITING} points with at most {DIFFERENCES} distinct time stamps wait for an interval: "
                "set interval_s in the `streams` topic"
            )
        ops = self._ops()
        if taken:
            ops.rpush(self._key("waiting"), orjson.dumps(list(zip(*new, strict=True))))
        self._save()
        return taken

    def _save(self) -> None:
        self._ops().set(self._key("header"), self.live.header.dumps())

    def _leave_grid(self) -> StreamHeader:
        """The settings give another interval: the window starts anew under a new grid version."""
        header = self.live.header
        fresh = StreamHeader(
            grid_version=header.grid_version, seq=header.seq, last_seen_ms=header.last_seen_ms, points=header.points
        )
        self.owner.live[self.stream] = Live(fresh, self.live.rows)
        for kind in ("ring", "recent"):
            self._ops().delete(self._key(kind))
        return fresh

    def _enter_grid(self, grid: Grid, names: Sequence[str], counters: list[bool]) -> None:
        live, settings = self.live, self.owner._of(self.stream)
        header = live.header
        channels = list(dict.fromkeys([*(settings.channels or []), *names]))[:MAX_CHANNELS]
        if settings.kind == "counter":
            counters = [True] * len(channels)
        elif len(counters) != len(channels):
            counters = [False] * len(channels)
        header.state = "grid" if grid.regular else "irregular"
        header.grid_version += 1
        header.interval_ns, header.phase_ns = grid.interval_ns, grid.phase_ns
        header.capacity = settings.capacity or self.owner._settings.capacity
        header.channels, header.counters = channels, counters
        header.last_raw, header.last_raw_slot = [None] * len(channels), [0] * len(channels)
        live.rows = min(live.rows, header.capacity)
        live.clear()
        live.waiting = Waiting()
        live.mean = settings.same_slot == "mean"
        if not grid.regular:
            log.warning(
                "irregular stream: kept but not judged; set interval_s in the `streams` topic",
                stream=self.stream, interval_s=grid.interval_ns / 1e9,
            )  # fmt: skip

    def _apply(
        self, ts_M: np.ndarray, name_M: list[str], value_M: np.ndarray, history_M: np.ndarray, record_M: np.ndarray
    ) -> None:
        live, header = self.live, self.live.header
        known = {name: c for c, name in enumerate(header.channels)}
        unknown = [name for name in dict.fromkeys(name_M) if name not in known]
        if unknown:
            unknown = unknown[: MAX_CHANNELS - len(known)]
            live.add_channels(unknown)
            known = {name: c for c, name in enumerate(header.channels)}
            refused = np.array([name not in known for name in name_M])
            for i in np.unique(record_M[refused]):
                self.plan.refused[int(i)] = f"stream has {MAX_CHANNELS} channels already; split it into several streams"
            ts_M, value_M, history_M, record_M = (a[~refused] for a in (ts_M, value_M, history_M, record_M))
            name_M = [name for name in name_M if name in known]
            self._widen(len(known))
        if not name_M:
            return
        channel_M = np.array([known[name] for name in name_M], np.int64)
        slot_M = slots_of(ts_M, header.interval_ns, header.phase_ns)
        if history_M.any():
            header.history_hi = max(header.history_hi, int(slot_M[history_M].max()))
        change = live.apply(slot_M, channel_M, ts_M, value_M)
        for i in record_M[change.refused]:
            self.plan.late[int(i)] = self.plan.late.get(int(i), 0) + 1
        if change.filled:
            gap = np.full((change.filled[1] - change.filled[0] + 1, len(known)), np.nan, np.float32)
            self._write(change.filled[0], gap)
        for (slot, channel), value in sorted(change.old.items()):
            at = (slot % header.capacity * len(known) + channel) * 4
            self._ops().setrange(self._key("ring"), at, np.float32(value).tobytes())
        last = change.first + len(change.values_NC) - 1
        if len(change.values_NC):
            self._write(change.first, change.values_NC)
            for at, raw in live.dump_rows(change.first, last):
                self._ops().setrange(self._key("recent"), at, raw)
        if len(change.values_NC):
            offsets = self.offset_R[record_M]
            self.plan.notices.add(
                self.stream, header, None, change.first, change.values_NC,
                late=change.late, history=bool(history_M.all()), offsets=(int(offsets.min()), int(offsets.max())),
            )  # fmt: skip
        if change.old:
            slots = [slot for slot, _ in change.old]
            self._tell_from_redis(min(slots), max(slots))
        self._save()

    def _write(self, first: int, values_NC: np.ndarray) -> None:
        header = self.live.header
        channels = len(header.channels)
        key, done = self._key("ring"), 0
        for row, count in wrap(first, first + len(values_NC) - 1, header.capacity):
            self._ops().setrange(key, row * channels * 4, values_NC[done : done + count].tobytes())
            done += count

    def _widen(self, channels: int) -> None:
        """Lay the ring out for more channels; the history of the old ones stays."""
        if self.ring is None or self.live.header.hi < 0:
            return
        old = self.ring.values_SC
        values_SC = np.full((len(old), channels), np.nan, np.float32)
        values_SC[:, : old.shape[1]] = old
        self._ops().delete(self._key("ring"))
        self._ops().delete(self._key("recent"))
        self._write(self.ring.header.lo, values_SC)
        low = max(self.live.header.lo, self.live.header.hi - self.live.rows + 1)
        for at, raw in self.live.dump_rows(low, self.live.header.hi):
            self._ops().setrange(self._key("recent"), at, raw)


def _extend(waiting: Waiting, ts: Any, channel: Any, value: Any, history: Any) -> None:
    waiting.ts.extend(ts)
    waiting.channel.extend(channel)
    waiting.value.extend(float("nan") if v is None else v for v in value)
    waiting.history.extend(history)


def counting_channels(waiting: Waiting, kind: str) -> list[bool]:
    """Which channels (in order of appearance) count up, judged from what waited for the grid unless `kind` says it."""
    found = []
    for name in dict.fromkeys(waiting.channel):
        pairs = sorted((t, v) for t, c, v in zip(waiting.ts, waiting.channel, waiting.value, strict=True) if c == name)
        values = np.array([v for _, v in pairs if v == v])
        steps = np.diff(values)
        whole = len(steps) >= DIFFERENCES // 2 and bool((values == np.rint(values)).all() and values[0] >= 0)
        rises = whole and bool((steps >= 0).all() and (steps > 0).mean() >= COUNTER_RISES)
        counts = rises and bool(values[-1] >= COUNTER_LEVEL and np.ptp(steps) > 0)
        found.append(kind == "auto" and counts)
    return found
