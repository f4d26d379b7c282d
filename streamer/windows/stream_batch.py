"""One stream's cells of one batch → the stream's new state, the Redis writes and the notices that follow.

A `StreamBatch` knows one stream and nothing else: it reads the stream as it is in memory, the names of its keys, its
settings and its cells, and returns a `StreamOutcome`.

Shapes: M cells, R records of the batch, N slots of a run, C channels, S slots of a window,
X values for the blocks
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Self

import numpy as np
import orjson
import structlog

from streamer.contracts import MAX_RING, StreamSettings, channels_of
from streamer.windows.another_grid import change_grid, change_kinds, follow
from streamer.windows.cells import Cells, note_pauses
from streamer.windows.coarse import add, clear, oldest_kept, widen
from streamer.windows.counters import counting_channels
from streamer.windows.grid import DIFFERENCES, Grid, given_grid, infer_grid, slots_of
from streamer.windows.keys import StreamKeys
from streamer.windows.ledger import ShardOps
from streamer.windows.notices import Notice, numbered_notices
from streamer.windows.open_window import OpenWindow, RingChange, wrap
from streamer.windows.ring import StreamWindow
from streamer.windows.scale import scale_of

log = structlog.get_logger(__name__)

# A stream that repeats the same instants never gets an interval; what waits for one is bounded.
MAX_WAITING = 4096
_NOTHING = np.empty((0, 0), np.float32)
_IRREGULAR = "irregular stream: kept but not judged; set interval_s in the `streams` topic"


class Reread(NamedTuple):
    """Slots first..last whose values are to be read from Redis after the write, and the number set aside for them."""

    first: int
    last: int
    seq: int


@dataclass(slots=True)
class StreamOutcome:
    """What one stream's part of a batch comes to."""

    writes: ShardOps = field(default_factory=ShardOps)
    notices: list[Notice] = field(default_factory=list)
    reread: Reread | None = None
    points: int = 0
    regrids: int = 0  # changes of the grid that the points asked for
    late: dict[int, int] = field(default_factory=dict)  # record index → cells older than the window
    refused: dict[int, str] = field(default_factory=dict)  # record index → why its cells were left out


class StreamBatch:
    """One stream of one batch: `advance` with the new cells, `repeat` with those applied before a crash."""

    def __init__(
        self, stream: str, window: OpenWindow, keys: StreamKeys, settings: StreamSettings, capacity: int,
        ring: StreamWindow | None,
    ) -> None:  # fmt: skip
        """`capacity` counts where the stream's settings give none; `ring` is the window of a stream that gets
        wider, has points for blocks long closed, or is about to get another grid."""
        self.outcome = StreamOutcome()
        self._stream = stream
        self._window = window
        self._keys = keys
        self._settings = settings
        self._capacity = settings.capacity or capacity
        self._ring = ring

    def advance(self, cells: Cells, offset_R: np.ndarray, stamp_R: np.ndarray) -> Self:
        """Apply new cells.

        Args:
            offset_R: Kafka offsets of the batch's records.
            stamp_R: their time stamps, Unix ms.
        """
        window, settings, writes = self._window, self._settings, self.outcome.writes
        first_record = int(cells.record_M[0])
        if window.header.points == 0:
            writes.sadd(self._keys.names, self._stream)
        window.header.points += len(cells.ts_M)
        note_pauses(window.header, cells, stamp_R)
        window.header.last_seen_ms = max(window.header.last_seen_ms, int(stamp_R[cells.record_M].max()))
        self.outcome.points += len(cells.ts_M)
        if self._has_another_interval(int(cells.ts_M[0])):
            window.leave_grid()
            writes.delete(self._keys.ring)
            writes.delete(self._keys.recent)
        if window.doubted:
            self._change_kinds()
        if window.header.state == "waiting":
            waited = window.waiting
            if settings.interval_s:
                grid = given_grid(settings.interval_s, waited.ts[0] if waited.ts else int(cells.ts_M[0]))
                here = zip(cells.name_M, cells.record_M, strict=True)
                names = waited.channel or [name for name, record in here if record == first_record]
                first = cells.record_M == first_record
                values = waited.value or cells.value_M[first].tolist()
                self._enter_grid(grid, names, values, counting_channels(waited, settings.kind))
            else:
                count = self._wait(cells)
                if window.header.state == "waiting":
                    return self
                cells = cells.after(count)
            cells = cells.with_waiting(waited, first_record)
            writes.delete(self._keys.waiting)
        while (seen := self._review(cells)) is not None:
            self._put_on_grid(cells.before(seen), offset_R, followed=True)
            self._change_grid()
            cells = cells.after(seen)
        if cells.name_M:
            self._put_on_grid(cells, offset_R)
        return self

    def _review(self, cells: Cells) -> int | None:
        """After how many cells it is to be seen whether the grid is still the right one; None: not in this batch."""
        header = self._window.header
        if self._settings.interval_s or not cells.name_M:
            return None
        return header.review.scan(header.interval_ns, header.state == "grid", cells.ts_M)

    def _change_grid(self) -> None:
        """The grid that the newest points follow, if it is another one; history is carried over."""
        window, header, before = self._window, self._window.header, self._window.header.grid
        grid = header.review.decide(before)
        if grid is None:
            self._save_header()
            return
        ring, blocks = self._ring, header.coarse
        lo, values_SC = (0, _NOTHING) if ring is None else (ring.header.lo, ring.values_SC)
        values_NC = change_grid(window, grid, lo, values_SC)
        self._rewrite_ring(header.lo, values_NC)
        if header.coarse is not blocks:
            self.outcome.writes.delete(self._keys.coarse)
        stored = ring.coarse if ring is not None and header.coarse is blocks else None
        self._ring = StreamWindow(replace(header), values_NC, stored)
        self.outcome.reread = None  # it was of slots of the old grid; a new version is read whole
        self.outcome.regrids += 1
        self._save_header()
        log.warning(
            "another interval: a new grid version begins" if grid.regular else _IRREGULAR,
            stream=self._stream, interval_s=grid.interval_ns / 1e9, interval_before_s=before.interval_ns / 1e9,
            grid_version=header.grid_version, slots_before=len(values_SC), slots_carried_over=len(values_NC),
        )  # fmt: skip

    def repeat(self, ts_M: np.ndarray) -> Self:
        """Cells that were applied before a crash, at these instants: a notice of their slots once more.

        It carries a new sequence number, and the values that Redis has by now.
        """
        header = self._window.header
        if header.hi < 0:
            return self
        slot_M = slots_of(ts_M, header.interval_ns, header.phase_ns)
        first, last = max(int(slot_M.min()), header.lo), min(int(slot_M.max()), header.hi)
        if last >= first:
            self._notify_from_redis(first, last)
            self._save_header()
        return self

    def _has_another_interval(self, ts: int) -> bool:
        """The settings give an interval that is not the one of the grid the stream is on."""
        header, interval_s = self._window.header, self._settings.interval_s
        if header.state == "waiting" or not interval_s:
            return False
        return given_grid(interval_s, ts).interval_ns != header.interval_ns

    def _notify_from_redis(self, first: int, last: int) -> None:
        before = self.outcome.reread
        if before is not None:
            first, last = min(first, before.first), max(last, before.last)
        # Two numbers further: the detector sees a gap and reads the whole window itself. Always after the stream's
        # other notices of the batch, or it would be dropped as an older one.
        self._window.header.seq += 2
        self.outcome.reread = Reread(first, last, self._window.header.seq)

    def _save_header(self) -> None:
        self.outcome.writes.set(self._keys.header, self._window.header.to_json())

    def _wait(self, cells: Cells) -> int:
        """Collect cells until the grid can be inferred; returns how many were collected."""
        window = self._window
        seen = set(window.waiting.ts)
        need = len(cells.ts_M)
        for i, ts in enumerate(cells.ts_M.tolist()):
            seen.add(ts)
            if len(seen) > DIFFERENCES:
                need = i + 1
                break
        count = min(need, max(0, MAX_WAITING - len(window.waiting.ts)))
        new = (
            cells.ts_M[:count].tolist(), cells.name_M[:count], cells.value_M[:count].tolist(),
            cells.history_M[:count].tolist(),
        )  # fmt: skip
        window.waiting.extend(*new)
        if len(seen) > DIFFERENCES and count == need:
            waiting = window.waiting
            grid = infer_grid(np.array(waiting.ts, np.int64))
            self._enter_grid(grid, waiting.channel, waiting.value, counting_channels(waiting, self._settings.kind))
            return count
        self._refuse(
            cells.record_M[count:],
            f"{MAX_WAITING} points with at most {DIFFERENCES} distinct time stamps wait for an interval: "
            "set interval_s in the `streams` topic",
        )
        if count:
            self.outcome.writes.rpush(self._keys.waiting, orjson.dumps(list(zip(*new, strict=True))))
        self._save_header()
        return count

    def _refuse(self, record_M: np.ndarray, why: str) -> None:
        for record in np.unique(record_M):
            self.outcome.refused[int(record)] = why

    def _change_kinds(self) -> None:
        """Channels that turned out to be no counters, or to be some, go on as what they are; without the window in memory
        they wait for the next batch."""
        window, header, ring = self._window, self._window.header, self._ring
        if self._settings.kind != "auto" or header.hi < 0:
            window.doubted.clear()
        if not window.doubted or ring is None:
            return
        doubted = sorted(window.doubted)
        values_NC = change_kinds(window, ring.header.lo, ring.values_SC)
        stored, head = ring.coarse, header.coarse
        self.outcome.writes.delete(self._keys.ring)
        self._write_ring(header.lo, values_NC)
        if head is not None:
            self._rewrite_blocks(clear(head, stored, doubted))  # those held another quantity
        self._ring = StreamWindow(replace(header), values_NC, stored)
        self.outcome.regrids += 1
        log.warning(
            "channels are no counters or turn out to be some: a new grid version begins; set kind in the `streams` topic "
            "if that is wrong",
            stream=self._stream, grid_version=header.grid_version,
            kinds={header.channels[c]: "counter" if header.counters[c] else "gauge" for c in doubted},
        )  # fmt: skip

    def _enter_grid(
        self, grid: Grid, names: Sequence[str], values: Sequence[float], counters: dict[str, bool | None]
    ) -> None:
        """Begin on the grid; `names` and `values` are those of the first cells."""
        settings = self._settings
        channels = list(dict.fromkeys([*(settings.channels or []), *names]))[: channels_of(self._capacity)]
        unseen = {"auto": None, "counter": True, "gauge": False}[settings.kind]
        counting = [counters.get(name, unseen) for name in channels]
        before = self._window.header.coarse
        self._window.enter_grid(
            grid, channels, counting, self._capacity, settings.same_slot == "mean",
            [scale_of([v for n, v in zip(names, values, strict=True) if n == name]) for name in channels],
        )  # fmt: skip
        if self._window.header.coarse is not before:
            self.outcome.writes.delete(self._keys.coarse)
        if not grid.regular:
            log.warning(_IRREGULAR, stream=self._stream, interval_s=grid.interval_ns / 1e9)

    def _put_on_grid(self, cells: Cells, offset_R: np.ndarray, followed: bool = False) -> None:
        window, header, outcome = self._window, self._window.header, self.outcome
        known = {name: c for c, name in enumerate(header.channels)}
        if any(name not in known for name in cells.name_M):
            cells = self._add_channels(cells, known)
            known = {name: c for c, name in enumerate(header.channels)}
        if not cells.name_M:
            return
        channel_M = np.array([known[name] for name in cells.name_M], np.int64)
        slot_M = slots_of(cells.ts_M, header.interval_ns, header.phase_ns)
        if cells.history_M.any():
            header.history_hi = max(header.history_hi, int(slot_M[cells.history_M].max()))
        hi_before = header.hi
        change = window.place(slot_M, channel_M, cells.ts_M, cells.value_M)
        if followed:
            self._ring = follow(self._ring, header, change)
        kept_M = self._add_to_blocks(cells, channel_M, change, hi_before)
        for record in cells.record_M[change.refused[~kept_M[change.refused]]].tolist():
            outcome.late[record] = outcome.late.get(record, 0) + 1
        if change.filled:
            gap_NC = np.full((change.filled[1] - change.filled[0] + 1, len(known)), np.nan, np.float32)
            self._write_ring(change.filled[0], gap_NC)
        if len(change.values_NC):
            self._write_ring(change.first, change.values_NC)
            self._write_recent(change.first, change.first + len(change.values_NC) - 1)
            offset_M = offset_R[cells.record_M]
            outcome.notices += numbered_notices(
                self._stream, header, change.first, change.values_NC, change.late, bool(cells.history_M.all()),
                (int(offset_M.min()), int(offset_M.max())),
            )  # fmt: skip
        # After the run: a point that has become old in its own batch came later than what the run has of its slot.
        for (slot, channel), value in sorted(change.old.items()):
            at = (slot % header.capacity * len(known) + channel) * 4
            outcome.writes.setrange(self._keys.ring, at, np.float32(value).tobytes())
        if change.old:
            slots = [slot for slot, _ in change.old]
            self._notify_from_redis(min(slots), max(slots))
        self._save_header()

    def _add_to_blocks(self, cells: Cells, channel_M: np.ndarray, change: RingChange, hi_before: int) -> np.ndarray:
        """The coarse ring's share of the cells; returns which of them it has kept (M,).

        Of counters what counts is the increase an interval, slot by slot, and only of slots that are new.
        """
        header, head = self._window.header, self._window.header.coarse
        if head is None:
            return np.zeros(len(channel_M), bool)
        counters_C = np.array(header.counters)
        gauge_M = ~counters_C[channel_M]
        block_M = cells.ts_M // head.block_ns
        parts = [(block_M[gauge_M], channel_M[gauge_M], cells.value_M[gauge_M])]
        if counters_C.any():
            new_NC = change.values_NC[max(0, hi_before + 1 - change.first) :][:, counters_C]
            row_X, of_X = np.isfinite(new_NC).nonzero()
            slot_X = change.first + len(change.values_NC) - len(new_NC) + row_X
            at_X = (slot_X * header.interval_ns + header.phase_ns) // head.block_ns
            parts.append((at_X, np.flatnonzero(counters_C)[of_X], new_NC[row_X, of_X].astype(np.float64)))
        block_X, channel_X, value_X = (np.concatenate(column) for column in zip(*parts, strict=True))
        stored = None if self._ring is None else self._ring.coarse
        for at, raw in add(head, head.block_ns / header.interval_ns, block_X, channel_X, value_X, stored):
            self.outcome.writes.setrange(self._keys.coarse, at, raw)
        kept_M: np.ndarray = gauge_M & (block_M >= oldest_kept(head))
        return kept_M

    def _add_channels(self, cells: Cells, known: dict[str, int]) -> Cells:
        """New channels join the ring as long as there is room; returns the cells that have a channel now."""
        window = self._window
        new = [name for name in dict.fromkeys(cells.name_M) if name not in known]
        most = channels_of(window.header.capacity)
        fitting = new[: max(0, most - len(known))]
        window.add_channels(fitting)
        if window.header.coarse is not None and fitting:
            self._rewrite_blocks(
                widen(window.header.coarse, None if self._ring is None else self._ring.coarse, fitting)
            )
            if self._ring is not None:  # what was read is as wide as the ring now is
                self._ring = self._ring._replace(coarse=None)
        room = set(window.header.channels)
        fits_M = np.array([name in room for name in cells.name_M])
        why = (
            f"stream has {len(room)} channels already, and with {window.header.capacity} slots (capacity) {most} are the "
            f"most: a window holds {MAX_RING} numbers. Split it into several streams, or give it a smaller capacity"
        )
        self._refuse(cells.record_M[~fits_M], why)
        self._widen(len(room))
        return cells.only(fits_M)

    def _widen(self, channels: int) -> None:
        """Lay the ring out for more channels; the history of the old ones stays."""
        if self._ring is None or self._window.header.hi < 0:
            return
        old_NC = self._ring.values_SC
        values_NC = np.full((len(old_NC), channels), np.nan, np.float32)
        values_NC[:, : old_NC.shape[1]] = old_NC
        self._rewrite_ring(self._ring.header.lo, values_NC)

    def _rewrite_ring(self, first: int, values_NC: np.ndarray) -> None:
        """The whole window and its recent rows, laid out anew."""
        header = self._window.header
        self.outcome.writes.delete(self._keys.ring)
        self.outcome.writes.delete(self._keys.recent)
        if len(values_NC):
            self._write_ring(first, values_NC)
            self._write_recent(max(header.lo, header.hi - self._window.rows + 1), header.hi)

    def _rewrite_blocks(self, raw: bytes) -> None:
        """The whole coarse ring, laid out anew."""
        self.outcome.writes.delete(self._keys.coarse)
        if raw:
            self.outcome.writes.setrange(self._keys.coarse, 0, raw)

    def _write_ring(self, first: int, values_NC: np.ndarray) -> None:
        header = self._window.header
        channels, done = len(header.channels), 0
        for row, count in wrap(first, first + len(values_NC) - 1, header.capacity):
            piece = values_NC[done : done + count].tobytes()
            self.outcome.writes.setrange(self._keys.ring, row * channels * 4, piece)
            done += count

    def _write_recent(self, first: int, last: int) -> None:
        for at, raw in self._window.dump_rows(first, last):
            self.outcome.writes.setrange(self._keys.recent, at, raw)
