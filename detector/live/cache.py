"""The newest slots of every stream, in memory: what the bank scores.

A stream's rows lie one after another in a buffer with room behind them, so that its context is a view and a new
slot is one small copy. Redis is read only when the cache cannot know: first sight, a gap in the sequence numbers,
a new grid, or the first live slots after history. Shapes: N changed slots, S slots, C channels.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from detector.live.blocks import BEHIND, Blocks
from detector.live.channel_gaps import ChannelGaps
from detector.model.interface import Clock
from streamer.windows.header import GridState, StreamHeader
from streamer.windows.pauses import usual_ms
from streamer.windows.ring import StreamWindow
from streamer.windows.scale import scale_from
from streamer.windows.wire import FLAG_HISTORY, WindowBatch

# Room for new rows behind the kept ones: the larger, the rarer they are moved to the front.
ROOM = 256
# Slots kept beyond the context, so that late points are judged again: four times what may arrive in any order (64).
SLACK = BEHIND
# Slots with data that were not judged until that is told, and how many of them a judged one takes back: three of four
# points may be lost at random, and what comes at every sixth slot is told.
UNSCORED = 64
RECOVERY = 4


class WindowChange(NamedTuple):
    """One stream's change out of a `windows` message."""

    seq: int
    grid_version: int
    first: int
    values_NC: np.ndarray
    interval_ns: int
    phase_ns: int
    offsets: tuple[int, int]
    seen_ms: int
    flags: int
    data: int  # slots with any data among the changed ones
    full: bool = False  # every channel has data in every one of them
    pause_ms: int = 0  # how long the stream is silent by habit

    @property
    def last(self) -> int:
        """Its newest slot."""
        return self.first + len(self.values_NC) - 1


class Entry:
    """Window of one stream; slots `base..hi` are in the buffer, NaN where nothing arrived."""

    __slots__ = (
        "base", "batch", "blocks", "buffer_SC", "capacity", "channels", "consider_at", "filled", "gaps", "grid_version",
        "hi", "history", "history_hi", "interval_ns", "keep", "last_data", "late_from", "offsets", "pause_ms", "phase_ns", "scale",
        "scored", "seen_ms", "seq", "state", "stream", "unscored",
    )  # fmt: skip

    def __init__(self, stream: str, window: StreamWindow, keep: int, scored: int) -> None:
        """`keep` slots stay in memory at least; those up to `scored` have been judged."""
        self.stream = stream
        self.keep = keep
        self.scored = scored
        self.late_from: int | None = None  # earliest judged slot that has changed since
        self.offsets = (-1, -1)
        self.seen_ms = 0
        self.pause_ms = 0  # how long the stream is silent by habit
        self.batch = 0  # the one in which it was last changed
        self.gaps = ChannelGaps()  # which channels still come
        self.history_hi = -1
        self.consider_at = 0  # newest slot from which it is considered again whether the stream needs training
        self.unscored = 0  # slots with data that nothing has judged, up to `UNSCORED`; scored ones count backwards
        self.last_data = -1  # newest slot with data that was counted in it
        self.history = False  # the newest change was written by mode=history
        self.grid_version = -1
        self.filled = 0  # slots with data in the stream's whole ring (an estimate for what was not read)
        self.reload(window)

    def reload(self, window: StreamWindow) -> None:
        """Replace the buffer by what Redis has; nothing at or below the header's `history_hi` is ever judged."""
        header, values_SC, coarse = window
        known = 0
        if self.filled and header.grid_version == self.grid_version:
            self._compare(header.lo, values_SC)
            known = self.filled
        self.grid_version = header.grid_version
        self.interval_ns, self.phase_ns = header.interval_ns, header.phase_ns
        self.channels, self.capacity = list(header.channels), header.capacity
        self.state: GridState = header.state
        self.seq, self.hi, self.base = header.seq, header.hi, header.lo
        self.scale = scale_from(header.scale)
        self.blocks = None if coarse is None else Blocks(coarse, header.interval_ns)
        self.seen_ms, self.pause_ms = max(self.seen_ms, header.last_seen_ms), usual_ms(header.pauses)
        self.history_hi = max(self.history_hi, header.history_hi)
        self.scored = max(self.scored, header.history_hi)
        self.buffer_SC = np.full((len(values_SC) + ROOM, len(self.channels)), np.nan, np.float32)
        self.buffer_SC[: len(values_SC)] = values_SC
        # Of slots that were not read only the points are known: those ever applied, channels one by one.
        applied = header.points // max(len(self.channels), 1) if len(values_SC) >= self.keep else 0
        self.filled = min(max(known, applied, int(_present(values_SC).sum())), self.capacity)

    def note_seen(self, change: WindowChange) -> None:
        """Note where a change came from whose data Redis has brought already."""
        self.offsets, self.pause_ms = change.offsets, change.pause_ms
        self.history = bool(change.flags & FLAG_HISTORY)
        self._note_gaps(change)

    def _note_gaps(self, change: WindowChange) -> None:
        if not self.history:
            self.gaps.note(self.hi, None if change.full else np.isfinite(change.values_NC).any(0))

    def needs_redis(self, change: WindowChange) -> bool:
        """Whether the window must be read from Redis, because `follow` cannot know what it needs."""
        return (
            (change.grid_version, change.phase_ns) != (self.grid_version, self.phase_ns)
            or change.seq > self.seq + 1
            # no streamer writes this: Redis says what the stream is
            or change.values_NC.shape[1] != len(self.channels)
            # points that came in one batch with the last of the history are history, too: only the header says so
            or (self.history and not change.flags & FLAG_HISTORY)
            # a hole longer than the window: the ring's bounds bound the buffer
            or change.first > self.hi + self.keep
        )

    def follow(self, change: WindowChange) -> bool:
        """Bring the buffer up to a change; False when it is an old one, whose data are here already."""
        if change.seq <= self.seq:
            return False
        self.seq = change.seq
        self.offsets, self.seen_ms = change.offsets, max(change.seen_ms, self.seen_ms)
        self.pause_ms = change.pause_ms
        first, last, values_NC = change.first, change.last, change.values_NC
        if first <= self.hi:
            first, values_NC = self._overwrite(first, values_NC)
        if self.blocks is not None and last > self.hi:
            self.blocks.add((first + np.arange(len(values_NC))) * self.interval_ns + self.phase_ns, values_NC)
        if last > self.hi:
            self._append(first, values_NC)
            # Changes of counters repeat the slots before them: only new slots count.
            data = change.data if first == change.first else int(_present(values_NC).sum())
            self.filled = min(self.filled + data, self.capacity)
        self.history = bool(change.flags & FLAG_HISTORY)
        if self.history:
            self.history_hi = max(self.history_hi, last)
            self.scored = max(self.scored, last)
        self._note_gaps(change)
        return True

    def _append(self, first: int, values_NC: np.ndarray) -> None:
        last = first + len(values_NC) - 1
        if last - self.base >= len(self.buffer_SC):
            self._move(last)
        gap = self.hi + 1 - self.base, first - self.base
        if gap[1] > gap[0]:
            self.buffer_SC[max(gap[0], 0) : gap[1]] = np.nan
        self.buffer_SC[first - self.base : last - self.base + 1] = values_NC
        self.hi = last

    def _move(self, last: int) -> None:
        """Keep what the next scores need, at the front of a buffer with room up to `last` and more."""
        base = max(self.base, min(self.hi + 1, self.scored + 1, last) - self.keep)
        rows = last - base + 1 + ROOM
        if self.hi < base:  # a hole longer than the window
            buffer_SC = np.full((rows, len(self.channels)), np.nan, np.float32)
        else:
            buffer_SC = np.empty((rows, len(self.channels)), np.float32)
            buffer_SC[: self.hi - base + 1] = self.buffer_SC[base - self.base : self.hi - self.base + 1]
        self.buffer_SC, self.base = buffer_SC, base

    def _overwrite(self, first: int, values_NC: np.ndarray) -> tuple[int, np.ndarray]:
        """Write the part at or below `hi`; returns the rest."""
        inside = min(self.hi - first + 1, len(values_NC))
        self._compare(first, values_NC[:inside])
        skip = max(self.base - first, 0)
        if skip < inside:
            self.buffer_SC[first + skip - self.base : first + inside - self.base] = values_NC[skip:inside]
        return first + inside, values_NC[inside:]

    def _compare(self, first: int, values_NC: np.ndarray) -> None:
        """Note the earliest judged slot whose values differ from the ones in the buffer."""
        low, high = max(first, self.base), min(first + len(values_NC) - 1, self.hi, self.scored)
        if high < low:
            return
        new_NC = values_NC[low - first : high - first + 1]
        old_NC = self.buffer_SC[low - self.base : high - self.base + 1]
        differs_N = ~((new_NC == old_NC) | (np.isnan(new_NC) & np.isnan(old_NC))).all(1)
        if differs_N.any():
            slot = low + int(differs_N.argmax())
            self.late_from = slot if self.late_from is None else min(slot, self.late_from)

    def count_judged(self, judged: int, unjudged: int) -> None:
        """Count live slots with data of a batch."""
        if unjudged or self.unscored:
            self.unscored = min(max(self.unscored + unjudged - RECOVERY * judged, 0), UNSCORED)

    @property
    def whole(self) -> bool:
        """Whether all that the stream has ever sent is in memory: nothing was dropped, left in Redis or overwritten."""
        return self.hi - self.base + 1 < min(self.keep, self.capacity)

    def lowest(self, context: int) -> int:
        """Earliest slot whose whole context is in memory."""
        return self.base + context - 1

    def segment(self, first: int, last: int, context: int) -> np.ndarray:
        """Rows to score slots first..last: float32 (context − 1 + slots, C), NaN before the window's beginning."""
        begin = first - context + 1
        if begin >= self.base:
            return self.buffer_SC[begin - self.base : last - self.base + 1]
        missing = min(self.base - begin, last - begin + 1)
        rows_SC = np.full((last - begin + 1, len(self.channels)), np.nan, np.float32)
        rows_SC[missing:] = self.buffer_SC[: max(last - self.base + 1, 0)]
        return rows_SC

    def row(self, slot: int) -> np.ndarray:
        """Values of one slot (C,) in the unit of the data, NaN outside the buffer; float64 where the stream has a scale."""
        if not self.base <= slot <= self.hi:
            return np.full(len(self.channels), np.nan, np.float32)
        row_C: np.ndarray = self.buffer_SC[slot - self.base]
        return row_C if self.scale is None else self.scale.data(row_C)

    def seen_at(self, slot: int) -> bool:
        """Whether a slot has any data."""
        return bool(np.isfinite(self.row(slot)).any())

    def present(self, first: int, last: int) -> np.ndarray:
        """Which slots first..last (in the buffer) have any data, bool (S,)."""
        return _present(self.buffer_SC[first - self.base : last - self.base + 1])

    def clock(self, zone: str | None) -> Clock | None:
        """When its slots are, and its blocks; None where there are none."""
        if self.blocks is None:
            return None
        return Clock(self.interval_ns, self.phase_ns, zone, self.blocks.block_ns, self.blocks.means)

    def slot_ns(self, slot: int) -> int:
        """The slot's centre in ns since 1970."""
        return slot * self.interval_ns + self.phase_ns


def unknown(header: StreamHeader, change: WindowChange) -> bool:
    """Whether Redis, just read, has never heard of a change.

    The streamer writes to Redis before it says so on `windows`: what Redis does not have has not happened, or is lost
    there and will be said again. Followed, such a change of somebody else's would make the stream deaf to all real ones,
    or its buffer as long as the writer likes.
    """
    return change.seq > header.seq


def window_changes(batch: WindowBatch) -> Iterator[tuple[str, WindowChange]]:
    """The changes of one message, in order."""
    bounds = batch.bounds()
    column = {name: values.tolist() for name, values in batch.columns.items()}
    finite = np.concatenate([[0], np.cumsum(np.isfinite(batch.values))])
    numbers_N = finite[bounds[1:]] - finite[bounds[:-1]]
    edges = bounds.tolist()
    rows = zip(
        batch.streams, column["seq"], column["grid_version"], column["channels"], column["first_slot"],
        column["slots"], column["interval_ns"], column["phase_ns"], column["first_offset"], column["last_offset"],
        column["seen_ms"], column["flags"], edges[:-1], edges[1:], numbers_N.tolist(), strict=True,
    )  # fmt: skip
    for stream, seq, grid, channels, first, slots, interval, phase, low, high, seen, flags, at, to, numbers in rows:
        values_NC = batch.values[at:to].reshape(slots, channels)
        # one slot has data when it has a number, a full block everywhere; only blocks with gaps are counted slot by slot
        data = min(numbers, slots) if slots == 1 or numbers == to - at else int(_present(values_NC).sum())
        full, pause = numbers == to - at, batch.pauses.get(stream, 0)
        yield (
            stream,
            WindowChange(seq, grid, first, values_NC, interval, phase, (low, high), seen, flags, data, full, pause),
        )


def _present(values_SC: np.ndarray) -> np.ndarray:
    there_S: np.ndarray = np.isfinite(values_SC).any(1)
    return there_S
