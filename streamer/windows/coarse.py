"""The coarse ring: eight weeks of a stream in blocks of five minutes or more, beside the fine ring of its newest slots.

A block is a stretch of absolute time that divides a day; its value is the mean of the points that arrived in it, in
whatever order they came. A block and channel take two bytes: sign, 6 bits of exponent and 9 of mantissa of the
departure from a level that is fixed once per channel, so that small changes on a large level survive (to 0.1 % of the
departure). Two zero bytes are a block that nothing is known of.

Shapes: M cells, B blocks, C channels, X places of a flat ring.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

MINUTE_NS = 60 * 10**9
# Lengths that divide a day and are whole phases of five minutes.
BLOCKS_NS = tuple(minutes * MINUTE_NS for minutes in (5, 10, 15, 20, 30, 60))
BLOCKS = 16_384  # 56.9 days of five minutes: 32 KB per channel
# Blocks whose sums are exact, in the header. A point for an older one is joined to it as if that were complete.
OPEN = 2
_SIGN, _BIAS, _TOP = 0x8000, 32, 63  # a sign alone is a departure of 0


class CoarseWindow(NamedTuple):
    """Blocks first..first + B − 1 of a stream in time order."""

    block_ns: int
    first: int  # block b covers b · block_ns up to (b + 1) · block_ns, ns since 1970
    mean_BC: np.ndarray  # float64, NaN where nothing is known
    head: "CoarseHead"  # levels, units and the open blocks' sums

    def scaled(self, offset_C: np.ndarray, unit_C: np.ndarray) -> "CoarseWindow":
        """In other numbers: (value − offset) / unit."""
        head = self.head
        level = [
            None if at is None else (at - o) / u
            for at, o, u in zip(head.level, offset_C.tolist(), unit_C.tolist(), strict=True)
        ]
        opened = [
            (block, ((np.array(sums) - np.array(counts) * offset_C) / unit_C).tolist(), counts)
            for block, sums, counts in head.open
        ]
        changed = replace(head, level=level, unit=(np.array(head.unit) / unit_C).tolist(), open=opened)
        return CoarseWindow(self.block_ns, self.first, (self.mean_BC - offset_C) / unit_C, changed)


@dataclass(slots=True)
class CoarseHead:
    """What a stream's header keeps of its coarse ring. `hi < lo`: there is no block yet."""

    block_ns: int
    channels: list[str] = field(default_factory=list)
    base: int = 0  # the block at the ring's first place
    lo: int = 0
    hi: int = -1
    level: list[float | None] = field(default_factory=list)  # per channel, what means are relative to …
    unit: list[float] = field(default_factory=list)  # … and in which unit
    open: list[tuple[int, list[float], list[int]]] = field(default_factory=list)  # block, sums and counts per channel

    @classmethod
    def of_channels(cls, block_ns: int, channels: list[str]) -> "CoarseHead":
        """Without a block yet."""
        width = len(channels)
        return cls(block_ns, list(channels), level=[None] * width, unit=[1.0] * width)

    def levels(self) -> np.ndarray:
        """Levels (C,), 0 where there is none yet."""
        return np.array([0.0 if level is None else level for level in self.level])


def block_ns_of(interval_ns: int) -> int | None:
    """Length of the blocks of a stream: the shortest whole number of its intervals, or the shortest that holds one; None
    above an hour, where slots are coarse enough."""
    whole = (block for block in BLOCKS_NS if block % interval_ns == 0)
    return next(whole, next((block for block in BLOCKS_NS if block >= interval_ns), None))


def pack(part_B: np.ndarray) -> np.ndarray:
    """Departures in units as 16-bit words; NaN becomes 0, what is too small a departure of 0, too large the largest."""
    known_B = np.isfinite(part_B)
    mantissa_B, exponent_B = np.frexp(np.abs(np.where(known_B, part_B, 0.0)))
    whole_B = np.rint((2.0 * mantissa_B - 1.0) * 512).astype(np.int64) + ((exponent_B.astype(np.int64) + _BIAS) << 9)
    whole_B = np.where((mantissa_B == 0) | (whole_B < 1 << 9), _SIGN, whole_B.clip(max=(_TOP << 9) + 511))
    word_B = np.where((part_B < 0) & (whole_B != _SIGN), whole_B | _SIGN, whole_B)
    return np.where(known_B, word_B, 0).astype("<u2")


def unpack(word_B: np.ndarray) -> np.ndarray:
    """Words as departures in units, NaN where nothing is known."""
    word_B = word_B.astype(np.int64)
    exponent_B = (word_B >> 9) & _TOP
    part_B = np.ldexp(1.0 + (word_B & 511) / 512, exponent_B - _BIAS - 1)
    part_B = np.where(exponent_B == 0, 0.0, np.where(word_B & _SIGN, -part_B, part_B))
    return np.where(word_B == 0, np.nan, part_B)


def add(
    head: CoarseHead, slots: float, block_M: np.ndarray, channel_M: np.ndarray, value_M: np.ndarray,
    stored: CoarseWindow | None = None,
) -> list[tuple[int, bytes]]:  # fmt: skip
    """Add cells; changes `head` and returns what to write into the ring, as (byte offset, bytes).

    Args:
        slots: slots of the stream's grid in a block, at least 1.
        stored: the ring as it is, where blocks older than the open ones are among the cells' (`touches_closed`).

    Cells older than the ring's eight weeks are passed over, as are cells that are not finite.
    """
    channels = len(head.level)
    fits_M = np.isfinite(value_M)
    if fits_M.any():
        fits_M &= block_M > max(head.hi, int(block_M[fits_M].max())) - BLOCKS
    if not fits_M.any():
        return []
    block_M, channel_M, value_M = block_M[fits_M], channel_M[fits_M], value_M[fits_M]
    for channel in np.flatnonzero([level is None for level in head.level]).tolist():
        mine = value_M[channel_M == channel]
        if len(mine):
            head.level[channel] = float(mine[0])
            size = next((abs(value) for value in mine.tolist() if value), 1.0)
            head.unit[channel] = float(np.ldexp(1.0, int(np.frexp(size)[1])))
    place_X, of_M = np.unique(block_M * channels + channel_M, return_inverse=True)
    sum_X = np.bincount(of_M, weights=value_M)
    count_X = np.bincount(of_M)
    held = {block: (np.array(sums), np.array(counts)) for block, sums, counts in head.open}
    for place, total, count in zip(place_X.tolist(), sum_X.tolist(), count_X.tolist(), strict=True):
        block, channel = divmod(place, channels)
        if block not in held:
            held[block] = _of_ring(channels, slots, stored, block)
        held[block][0][channel] += total
        held[block][1][channel] += count
    writes = _advance(head, min(held), max(held))
    unit_C, level_C = np.array(head.unit), head.levels()
    for block in sorted(held):
        if block <= head.hi - OPEN:
            sums, counts = held.pop(block)
            part_C = (mean_of(sums, counts) - level_C) / unit_C
            writes.append(((block - head.base) % BLOCKS * channels * 2, pack(part_C).tobytes()))
    head.open = [(block, sums.tolist(), counts.tolist()) for block, (sums, counts) in sorted(held.items())]
    return writes


def oldest_kept(head: CoarseHead) -> int:
    """The first block that the ring has a place for."""
    return head.hi - BLOCKS + 1


def touches_closed(head: CoarseHead, lowest: int) -> bool:
    """Whether cells of which `lowest` is the oldest block may belong to blocks that the ring alone knows."""
    return head.lo <= head.hi and lowest <= head.hi - OPEN


def _of_ring(channels: int, slots: float, stored: CoarseWindow | None, block: int) -> tuple[np.ndarray, np.ndarray]:
    if stored is None or not 0 <= block - stored.first < len(stored.mean_BC):
        return np.zeros(channels), np.zeros(channels, np.int64)
    return reopened(stored.mean_BC[block - stored.first], slots)


def reopened(mean_C: np.ndarray, slots: float) -> tuple[np.ndarray, np.ndarray]:
    """Sums and counts of a block that was closed: it counts as complete, so that one more slot hardly moves it."""
    counts = np.where(np.isfinite(mean_C), max(1, round(slots)), 0)
    return np.nan_to_num(mean_C) * counts, counts


def mean_of(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Means of a block's channels (C,), NaN where nothing was counted."""
    mean_C: np.ndarray = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    return mean_C


def _advance(head: CoarseHead, low: int, high: int) -> list[tuple[int, bytes]]:
    """Move the bounds; what the ring held eight weeks ago in the places of skipped blocks is cleared."""
    if head.hi < head.lo:
        head.base, head.lo, head.hi = low, low, high
        return []
    row = len(head.level) * 2
    first, writes = max(head.hi + 1, high - BLOCKS + 1), []
    if high - head.base >= BLOCKS or head.lo < head.base:  # before that the places were never written
        while first <= high:
            at = (first - head.base) % BLOCKS
            count = min(high - first + 1, BLOCKS - at)
            writes.append((at * row, bytes(count * row)))
            first += count
    head.hi = max(head.hi, high)
    head.lo = max(min(head.lo, low), head.hi - BLOCKS + 1)
    return writes


def read(head: CoarseHead | None, raw: bytes, last: int | None = None) -> CoarseWindow | None:
    """Header and ring bytes as a window in time order; `last`: the newest blocks only. None without a block."""
    if head is None or head.hi < head.lo:
        return None
    channels = len(head.level)
    first = head.lo if last is None else max(head.lo, head.hi - last + 1)
    place_B = (np.arange(first, head.hi + 1) - head.base) % BLOCKS
    word_X = np.frombuffer(raw, "<u2", len(raw) // 2)
    need = (int(place_B.max()) + 1) * channels
    if len(word_X) < need:
        word_X = np.concatenate([word_X, np.zeros(need - len(word_X), np.uint16)])
    mean_BC = unpack(word_X[: len(word_X) // channels * channels].reshape(-1, channels)[place_B])
    mean_BC = mean_BC * np.array(head.unit) + head.levels()
    for block, sums, counts in head.open:
        if block >= first:
            mean_BC[block - first] = mean_of(np.array(sums), np.array(counts))
    return CoarseWindow(head.block_ns, first, mean_BC, head)


def rounded(head: CoarseHead, mean_C: np.ndarray) -> np.ndarray:
    """Means as the ring gives them back."""
    unit_C, level_C = np.array(head.unit), head.levels()
    back_C: np.ndarray = unpack(pack((mean_C - level_C) / unit_C)) * unit_C + level_C
    return back_C


def widen(head: CoarseHead, window: CoarseWindow | None, names: list[str]) -> bytes:
    """More channels: changes `head`, returns the ring laid out anew."""
    width = len(names)
    head.channels = [*head.channels, *names]
    head.level, head.unit = [*head.level, *[None] * width], [*head.unit, *[1.0] * width]
    head.open = [(block, [*sums, *[0.0] * width], [*counts, *[0] * width]) for block, sums, counts in head.open]
    if window is None:
        return b""
    part_BC = np.pad(window.mean_BC, ((0, 0), (0, width)), constant_values=np.nan) - head.levels()
    place_B = (np.arange(window.first, window.first + len(part_BC)) - head.base) % BLOCKS
    word_XC = np.zeros((int(place_B.max()) + 1, len(head.level)), "<u2")
    word_XC[place_B] = pack(part_BC / np.array(head.unit))
    return word_XC.tobytes()


def clear(head: CoarseHead, window: CoarseWindow | None, channels: Sequence[int]) -> bytes:
    """Blocks of these channels begin anew: changes `head` and `window`, returns the ring laid out anew."""
    for c in channels:
        head.level[c] = None
        head.open = [
            (block, [*sums[:c], 0.0, *sums[c + 1 :]], [*counts[:c], 0, *counts[c + 1 :]])
            for block, sums, counts in head.open
        ]
        if window is not None:
            window.mean_BC[:, c] = np.nan
    return widen(head, window, [])
