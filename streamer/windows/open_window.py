"""A window as it is being written: a stream's header and recent rows in memory, and how cells change them.

Within the newest R slots (`lateness_slots`) every cell remembers the instant it came from, so that any order of
arrival gives the same window: of two points in one slot the one with the larger (ts, offset) wins. Older slots are
overwritten in order of arrival. Shapes: M cells, R recent rows, C channels, N rows of the work array,
X known values of one channel.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from streamer.windows.coarse import CoarseHead, block_ns_of
from streamer.windows.grid import Grid
from streamer.windows.header import StreamHeader
from streamer.windows.increments import counts_up, increases
from streamer.windows.review import Review
from streamer.windows.scale import PLAIN, scale_from, stored_scale

RISING_EVERY = 32  # slots between two looks at gauges that may turn out to count up
NEVER = np.iinfo(np.int64).min  # time stamp of a cell that nothing has reached
CARRIED = NEVER + 1  # of one whose value was carried over from another grid


@dataclass(slots=True)
class Waiting:
    """Raw cells of a stream whose interval is not known yet, in order of arrival."""

    ts: list[int] = field(default_factory=list)
    channel: list[str] = field(default_factory=list)
    value: list[float] = field(default_factory=list)
    history: list[bool] = field(default_factory=list)

    def extend(
        self, ts: Iterable[int], channel: Iterable[str], value: Iterable[float | None], history: Iterable[bool]
    ) -> None:
        """More cells, column by column; None is a gap (JSON has no NaN)."""
        self.ts.extend(ts)
        self.channel.extend(channel)
        self.value.extend(float("nan") if number is None else number for number in value)
        self.history.extend(history)


@dataclass(slots=True)
class RingChange:
    """What a batch did to a stream's ring."""

    first: int  # slots first..first + len(values) - 1 were written
    values_NC: np.ndarray  # float32, as the ring has them
    late: bool  # slots at or below the previous newest one are among them
    old: dict[tuple[int, int], float]  # (slot, channel) → value as the ring has it, overwritten beyond the recent rows
    filled: tuple[int, int] | None  # older slots (inclusive) newly taken into the window, NaN unless in `old`
    refused: np.ndarray  # indices of cells older than the window


class OpenWindow:
    """One stream as it is being written: waiting for its grid, or on it."""

    __slots__ = ("doubted", "header", "mean", "n_RC", "raw_RC", "rows", "ts_RC", "waiting")

    def __init__(self, header: StreamHeader, rows: int) -> None:
        self.header = header
        self.rows = rows
        self.mean = False
        # Channels that are not what they were taken for; of counters, slot and raw value before they fell as none does.
        self.doubted: dict[int, tuple[int, float] | None] = {}
        self.waiting = Waiting()
        self.clear()

    def clear(self) -> None:
        """Forget the recent rows; lay them out for the header's channels."""
        channels = len(self.header.channels)
        self.ts_RC = np.full((self.rows, channels), NEVER, np.int64)
        self.raw_RC = np.full((self.rows, channels), np.nan)
        self.n_RC = np.zeros((self.rows, channels), np.int32)

    def enter_grid(
        self, grid: Grid, channels: list[str], counters: list[bool | None], capacity: int, mean: bool = False,
        scale: Sequence[tuple[float, float]] = (),
    ) -> None:  # fmt: skip
        """Begin a window under a new grid version; what waited is forgotten, the caller has it.

        Args:
            counters: which channels count up; None: a gauge as long as it does not.
            mean: of several points in one slot the mean is kept, not the newest.
            scale: offset and unit of each channel in the ring; of counters it is passed over.
        """
        counting = [bool(counts) for counts in counters]
        header = self.header
        header.state = "grid" if grid.regular else "irregular"
        header.interval_ns, header.phase_ns, header.capacity = grid.interval_ns, grid.phase_ns, capacity
        header.channels, header.counters = channels, counting
        pairs = [
            PLAIN if counts else pair for counts, pair in zip(counting, scale or [PLAIN] * len(channels), strict=True)
        ]
        header.scale = stored_scale(pairs)
        header.renumber()
        header.rising, header.highest = [counts is None for counts in counters], [0.0] * len(channels)
        header.last_raw, header.last_raw_slot = [None] * len(channels), [0] * len(channels)
        header.coarse = self._blocks_of(grid.interval_ns, channels, counting)
        header.review = Review(newest_ns=max(self.waiting.ts, default=0))
        self.rows = min(self.rows, capacity)
        self.mean = mean
        self.doubted.clear()
        self.waiting = Waiting()
        self.clear()

    def _blocks_of(self, interval_ns: int, channels: list[str], counters: list[bool]) -> CoarseHead | None:
        """The blocks so far where they mean the same on the new grid, else none yet."""
        block_ns, before = block_ns_of(interval_ns), self.header.coarse
        if block_ns is None:
            return None
        if before and not any(counters) and (before.block_ns, before.channels) == (block_ns, channels):
            return before
        return CoarseHead.of_channels(block_ns, channels)

    def leave_grid(self) -> None:
        """Wait for another grid; only version, sequence number, counts and blocks of time (but for counters, whose values
        are per interval) go on. The caller deletes the ring."""
        old = self.header
        self.header = StreamHeader(
            grid_version=old.grid_version, seq=old.seq, last_seen_ms=old.last_seen_ms, pauses=old.pauses,
            points=old.points,
            coarse=None if any(old.counters) else old.coarse,
        )  # fmt: skip
        self.mean = False
        self.waiting = Waiting()
        self.clear()

    def row_bytes(self) -> int:
        """Size of one recent row in Redis: ts, raw and count of every channel."""
        return 20 * len(self.header.channels)

    def dump_rows(self, first: int, last: int) -> list[tuple[int, bytes]]:
        """Recent rows of slots first..last as (byte offset, bytes) for SETRANGE."""
        return [
            (at * self.row_bytes(), b"".join(self._row(row) for row in range(at, at + count)))
            for at, count in wrap(max(first, last - self.rows + 1), last, self.rows)
        ]

    def _row(self, row: int) -> bytes:
        parts: list[bytes] = [plane[row].tobytes() for plane in (self.ts_RC, self.raw_RC, self.n_RC)]
        return b"".join(parts)

    def restore_rows(self, raw: bytes) -> None:
        """Read the recent rows back. Redis fills what was never written with zeros: a count of 0 means nothing there."""
        self.clear()
        channels, size = len(self.header.channels), self.row_bytes()
        count = min(len(raw) // size, self.rows) if size else 0
        block = np.frombuffer(raw, np.uint8, count * size).reshape(count, size)
        self.ts_RC[:count] = np.ascontiguousarray(block[:, : 8 * channels]).view("<i8")
        self.raw_RC[:count] = np.ascontiguousarray(block[:, 8 * channels : 16 * channels]).view("<f8")
        self.n_RC[:count] = np.ascontiguousarray(block[:, 16 * channels :]).view("<i4")
        nothing = self.n_RC == 0
        self.ts_RC[nothing], self.raw_RC[nothing] = NEVER, np.nan

    def add_channels(self, names: list[str]) -> None:
        """More channels: a new grid version.

        The caller rewrites the ring.
        """
        header = self.header
        width = len(names)
        header.channels = [*header.channels, *names]
        header.counters = [*header.counters, *[False] * width]
        header.rising, header.highest = [*header.rising, *[True] * width], [*header.highest, *[0.0] * width]
        header.scale = [*header.scale, *[PLAIN] * width] if header.scale else []
        header.last_raw = [*header.last_raw, *[None] * width]
        header.last_raw_slot = [*header.last_raw_slot, *[0] * width]
        header.renumber()
        self.ts_RC = np.pad(self.ts_RC, ((0, 0), (0, width)), constant_values=NEVER)
        self.raw_RC = np.pad(self.raw_RC, ((0, 0), (0, width)), constant_values=np.nan)
        self.n_RC = np.pad(self.n_RC, ((0, 0), (0, width)))

    def place(self, slot_M: np.ndarray, channel_M: np.ndarray, ts_M: np.ndarray, value_M: np.ndarray) -> RingChange:
        """Put cells (in order of arrival) onto the grid; changes the recent rows and the header's bounds.

        The result depends on the sequence of cells only, not on how it is cut into calls.
        """
        header = self.header
        hi_before = header.hi
        top_M = np.maximum.accumulate(slot_M)
        # the newest slot at the moment each cell arrived
        top_M = np.maximum(np.concatenate([slot_M[:1], top_M[:-1]]), hi_before if hi_before >= 0 else slot_M[0])
        refused_M = slot_M <= top_M - header.capacity
        old_M = ~refused_M & (slot_M <= top_M - self.rows)
        if any(header.counters):
            # the increments around an old counter value cannot be formed again: its neighbours' raw values are gone
            is_counter_M = np.array(header.counters)[channel_M]
            refused_M |= old_M & is_counter_M
            old_M &= ~is_counter_M
        fresh = np.flatnonzero(~(refused_M | old_M))
        if len(fresh):
            first, values_NC = self._fresh(slot_M[fresh], channel_M[fresh], ts_M[fresh], value_M[fresh])
        else:
            first, values_NC = header.hi + 1, np.empty((0, len(header.channels)), np.float32)
        old = self._old(slot_M, channel_M, value_M, np.flatnonzero(old_M))
        filled = None
        if old and min(slot for slot, _ in old) < header.lo:
            filled = (min(slot for slot, _ in old), header.lo - 1)
            header.lo = filled[0]
        if any(header.rising) and header.hi // RISING_EVERY != hi_before // RISING_EVERY:
            self._look_at_rising(values_NC)
        return RingChange(
            first, values_NC, bool(hi_before >= 0 and first <= hi_before), old, filled, np.flatnonzero(refused_M)
        )

    def _old(
        self, slot_M: np.ndarray, channel_M: np.ndarray, value_M: np.ndarray, chosen: np.ndarray
    ) -> dict[tuple[int, int], float]:
        """Old cells by place; the last to arrive wins, and what the window has moved past is left out."""
        lowest = self.header.hi - self.header.capacity
        if self.header.scale and len(chosen):
            offset_M, unit_M = np.array(self.header.scale)[channel_M].T
            value_M = (value_M - offset_M) / unit_M
        return {(int(slot_M[i]), int(channel_M[i])): float(value_M[i]) for i in chosen if slot_M[i] > lowest}

    def _fresh(
        self, slot_M: np.ndarray, channel_M: np.ndarray, ts_M: np.ndarray, value_M: np.ndarray
    ) -> tuple[int, np.ndarray]:
        header = self.header
        rows, channels, hi = self.rows, len(header.channels), header.hi
        counting = any(header.counters)
        low, top = int(slot_M.min()), int(slot_M.max())
        new_hi = max(hi, top)
        start = low if hi < 0 else min(low, hi + 1) if top > hi else low
        if counting and hi >= 0:
            start = min(start, max(hi - rows + 1, header.lo))
        lowest = new_hi - header.capacity + 1
        if counting and start < lowest:
            self._leave(lowest, slot_M, channel_M, ts_M, value_M)
        start = max(start, lowest)
        # A window that begins later than the new cells is extended downwards, gaps in between.
        end = new_hi if top > hi or counting else max(top, header.lo - 1)
        n = end - start + 1
        ts_NC = np.full((n, channels), NEVER, np.int64)
        raw_NC = np.full((n, channels), np.nan)
        n_NC = np.zeros((n, channels), np.int32)
        kept_low, kept_high = max(start, header.lo, hi - rows + 1), min(hi, end)
        if hi >= 0 and kept_high >= kept_low:
            at = np.arange(kept_low, kept_high + 1)
            ts_NC[at - start], raw_NC[at - start], n_NC[at - start] = (
                self.ts_RC[at % rows], self.raw_RC[at % rows], self.n_RC[at % rows]
            )  # fmt: skip
        inside = slot_M >= start
        place_M = (slot_M[inside] - start) * channels + channel_M[inside]
        self._merge(place_M, ts_M[inside], value_M[inside], ts_NC, raw_NC, n_NC)
        header.lo = max(min(header.lo, start) if hi >= 0 else start, new_hi - header.capacity + 1)
        header.hi = new_hi
        value_NC, scale = raw_NC / np.maximum(n_NC, 1) if self.mean else raw_NC, scale_from(header.scale)
        values_NC = np.asarray(value_NC if scale is None else scale.ring(value_NC), np.float32)
        if counting:
            self._count(start, raw_NC, values_NC)
        at = np.arange(max(start, new_hi - rows + 1), end + 1)
        self.ts_RC[at % rows], self.raw_RC[at % rows], self.n_RC[at % rows] = (
            ts_NC[at - start], raw_NC[at - start], n_NC[at - start]
        )  # fmt: skip
        return start, values_NC

    def _leave(
        self, lowest: int, slot_M: np.ndarray, channel_M: np.ndarray, ts_M: np.ndarray, value_M: np.ndarray
    ) -> None:
        """Counters: the newest raw value below `lowest`, which the window jumps over, becomes the header's last one."""
        header = self.header
        kept = np.arange(max(header.lo, header.hi - self.rows + 1), header.hi + 1)
        kept = kept[kept < lowest]
        for c in np.flatnonzero(header.counters):
            mine = (channel_M == c) & (slot_M < lowest)
            slot = np.concatenate([kept, slot_M[mine]])
            ts = np.concatenate([self.ts_RC[kept % self.rows, c], ts_M[mine]])
            raw = np.concatenate([self.raw_RC[kept % self.rows, c], value_M[mine]])
            order = np.lexsort((ts, slot))
            winner = order[np.append(slot[order][1:] != slot[order][:-1], True)] if len(order) else order
            winner = winner[np.isfinite(raw[winner])]
            if len(winner):
                header.last_raw[c], header.last_raw_slot[c] = float(raw[winner[-1]]), int(slot[winner[-1]])

    def _merge(
        self, place_M: np.ndarray, ts_M: np.ndarray, value_M: np.ndarray,
        ts_NC: np.ndarray, raw_NC: np.ndarray, n_NC: np.ndarray,
    ) -> None:  # fmt: skip
        """Of all cells for a place the one with the largest (ts, arrival) wins, or their mean is kept as a sum."""
        ts_flat, raw_flat, n_flat = ts_NC.reshape(-1), raw_NC.reshape(-1), n_NC.reshape(-1)
        if self.mean:
            finite = np.isfinite(value_M)
            touched = np.unique(place_M[finite])
            raw_flat[touched] = np.nan_to_num(raw_flat[touched])
            np.add.at(raw_flat, place_M[finite], value_M[finite])
            np.add.at(n_flat, place_M[finite], 1)
            np.maximum.at(ts_flat, place_M, ts_M)
            return
        order = np.lexsort((ts_M, place_M))  # stable: arrival breaks ties of ts
        place = place_M[order]
        last = order[np.flatnonzero(np.append(place[1:] != place[:-1], True))]
        wins = last[ts_M[last] >= ts_flat[place_M[last]]]
        ts_flat[place_M[wins]] = ts_M[wins]
        raw_flat[place_M[wins]] = value_M[wins]
        n_flat[place_M[wins]] = 1

    def _count(self, start: int, raw_NC: np.ndarray, values_NC: np.ndarray) -> None:
        """Counter channels: values become the increase an interval; a fall is a reset, and a gap.

        Raw values leaving the recent rows are kept in the header.
        """
        header = self.header
        slots = np.arange(start, start + len(raw_NC))
        for c in np.flatnonzero(header.counters).tolist():
            known = np.flatnonzero(np.isfinite(raw_NC[:, c]))
            values_NC[:, c] = np.nan
            raw, at = raw_NC[known, c], slots[known]
            if not len(known):
                continue
            made = increases(raw, at, header.last_raw[c], header.last_raw_slot[c], header.highest[c])
            values_NC[known, c] = made.value_X
            header.highest[c] = max(header.highest[c], float(raw.max()))
            if made.gauge is not None:
                self.doubted.setdefault(c, made.gauge)
            leaving = np.flatnonzero(at <= header.hi - self.rows)
            if len(leaving):
                header.last_raw[c] = float(raw[leaving[-1]])
                header.last_raw_slot[c] = int(at[leaving[-1]])

    def recent(self, c: int) -> tuple[np.ndarray, np.ndarray]:
        """Slots and raw values of a channel's recent rows that are known, in order."""
        slots = np.arange(max(self.header.lo, self.header.hi - self.rows + 1), self.header.hi + 1)
        raw = self.raw_RC[slots % self.rows, c]
        if self.mean:
            raw = raw / np.maximum(self.n_RC[slots % self.rows, c], 1)
        known = np.isfinite(raw)
        return slots[known], raw[known]

    def _look_at_rising(self, values_NC: np.ndarray) -> None:
        """Gauges that have never fallen so far: one that counts up now is doubted, one that fell is a gauge for good.

        `values_NC`: what was written last, perhaps more than the recent rows.
        """
        for c in np.flatnonzero(self.header.rising).tolist():
            fell = bool((np.diff(values_NC[np.isfinite(values_NC[:, c]), c]) < 0).any())
            counts = False if fell else counts_up(self.recent(c)[1])
            if counts is not None:
                self.header.rising[c] = False
                if counts:
                    self.doubted[c] = None


def wrap(first: int, last: int, size: int) -> list[tuple[int, int]]:
    """Slots first..last (at most `size`) as runs (row, count) of a ring of `size` rows."""
    if last < first:
        return []
    begin, count = first % size, last - first + 1
    head = min(count, size - begin)
    return [(begin, head)] if head == count else [(begin, head), (0, count - head)]
