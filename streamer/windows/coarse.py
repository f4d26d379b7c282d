"""The coarse ring: eight weeks of a stream in blocks of ten minutes or more, beside the fine ring of its newest slots.

A block is a stretch of absolute time that divides a day; its value is the mean of the points that arrived in it, in
whatever order they came. A block and channel take four bytes: the upper 24 bits of the mean as a float32 (relative
to a level fixed once per channel, so that small changes on a large level survive), and the share of the block's slots
that were seen, from 1 to 255; four zero bytes are a block that nothing is known of.

Shapes: M cells, B blocks, C channels.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

MINUTE_NS = 60 * 10**9
# Lengths that divide a day. Ten minutes tell a nightly job from its absence; five would take twice the memory.
BLOCKS_NS = tuple(minutes * MINUTE_NS for minutes in (10, 15, 20, 30, 60))
BLOCKS = 8192  # 56.9 days of ten minutes: 32 KB per channel
# Blocks whose sums are exact, in the header; a point for an older one is added to what the ring says of it.
OPEN = 2
_FULL = 255
_LOW = np.uint32(0xFF)


class CoarseWindow(NamedTuple):
    """Blocks first..first + B − 1 of a stream in time order."""

    block_ns: int
    first: int  # block b covers b · block_ns up to (b + 1) · block_ns, ns since 1970
    mean_BC: np.ndarray  # float64, NaN where nothing is known
    share_BC: np.ndarray  # float32 share of the block's slots that were seen, 0 to 1


@dataclass(slots=True)
class CoarseHead:
    """What a stream's header keeps of its coarse ring. `hi < lo`: there is no block yet."""

    block_ns: int
    base: int = 0  # the block at the ring's first place
    lo: int = 0
    hi: int = -1
    level: list[float | None] = field(default_factory=list)  # what means are relative to, per channel
    open: list[tuple[int, list[float], list[int]]] = field(default_factory=list)  # block, sums and counts per channel


def block_ns_of(interval_ns: int) -> int | None:
    """Length of the blocks of a stream: the shortest that holds a slot; None above an hour, where slots are coarse enough."""
    return next((block for block in BLOCKS_NS if block >= interval_ns), None)


def pack(mean_B: np.ndarray, share_B: np.ndarray) -> np.ndarray:
    """Means relative to their level and shares (0: nothing known) as uint32 words."""
    bits_B = np.asarray(mean_B, np.float64).astype(np.float32).view(np.uint32)
    rounded_B = (bits_B.astype(np.uint64) + 0x80).clip(max=0xFF7FFFFF).astype(np.uint32) & ~_LOW
    known_B = np.isfinite(mean_B) & (share_B > 0)
    part_B = np.clip(np.rint(np.asarray(share_B, np.float64) * _FULL), 1, _FULL).astype(np.uint32)
    return np.where(known_B, rounded_B | part_B, np.uint32(0)).astype("<u4")


def unpack(word_B: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Words as means relative to their level (float64, NaN where nothing is known) and shares."""
    part_B = word_B & _LOW
    mean_B = (word_B & ~_LOW).astype(np.uint32).view(np.float32).astype(np.float64)
    return np.where(part_B > 0, mean_B, np.nan), part_B.astype(np.float32) / _FULL


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
    for channel in np.flatnonzero([level is None for level in head.level]):
        mine = value_M[channel_M == channel]
        if len(mine):
            head.level[channel] = float(mine[0])
    place_X, of_M = np.unique(block_M * channels + channel_M, return_inverse=True)
    sum_X = np.bincount(of_M, weights=value_M)
    count_X = np.bincount(of_M)
    open_ = {block: (np.array(sums), np.array(counts)) for block, sums, counts in head.open}
    for place, total, count in zip(place_X.tolist(), sum_X.tolist(), count_X.tolist(), strict=True):
        block, channel = divmod(place, channels)
        if block not in open_:
            open_[block] = _of_ring(head, stored, block, slots)
        open_[block][0][channel] += total
        open_[block][1][channel] += count
    writes = _advance(head, min(open_), max(open_))
    for block in sorted(open_):
        if block <= head.hi - OPEN:
            sums, counts = open_.pop(block)
            level = np.array([0.0 if at is None else at for at in head.level])
            mean_C = np.where(counts > 0, sums / np.maximum(counts, 1) - level, np.nan)
            writes.append(((block - head.base) % BLOCKS * channels * 4, pack(mean_C, counts / slots).tobytes()))
    head.open = [(block, sums.tolist(), counts.tolist()) for block, (sums, counts) in sorted(open_.items())]
    return writes


def touches_closed(head: CoarseHead, block_M: np.ndarray) -> bool:
    """Whether blocks that the ring alone knows are among these."""
    open_ = {block for block, _, _ in head.open}
    return any(head.lo <= block <= head.hi and block not in open_ for block in np.unique(block_M).tolist())


def _of_ring(head: CoarseHead, stored: CoarseWindow | None, block: int, slots: float) -> tuple[np.ndarray, np.ndarray]:
    channels = len(head.level)
    if stored is None or not 0 <= block - stored.first < len(stored.mean_BC):
        return np.zeros(channels), np.zeros(channels, np.int64)
    counts = np.rint(stored.share_BC[block - stored.first].astype(np.float64) * slots).astype(np.int64)
    return np.nan_to_num(stored.mean_BC[block - stored.first]) * counts, counts


def _advance(head: CoarseHead, low: int, high: int) -> list[tuple[int, bytes]]:
    """Move the bounds; what the ring held eight weeks ago in the places of skipped blocks is cleared."""
    if head.hi < head.lo:
        head.base, head.lo, head.hi = low, low, high
        return []
    row = len(head.level) * 4
    first, writes = max(head.hi + 1, high - BLOCKS + 1), []
    if high - head.base >= BLOCKS:  # before that the places were never written
        while first <= high:
            at = (first - head.base) % BLOCKS
            count = min(high - first + 1, BLOCKS - at)
            writes.append((at * row, bytes(count * row)))
            first += count
    head.hi = max(head.hi, high)
    head.lo = max(min(head.lo, low), head.hi - BLOCKS + 1)
    return writes


def read(head: CoarseHead | None, slots: float, raw: bytes, last: int | None = None) -> CoarseWindow | None:
    """Header and ring bytes as a window in time order; `last`: the newest blocks only. None without a block."""
    if head is None or head.hi < head.lo:
        return None
    channels = len(head.level)
    first = head.lo if last is None else max(head.lo, head.hi - last + 1)
    place_B = (np.arange(first, head.hi + 1) - head.base) % BLOCKS
    word_X = np.frombuffer(raw, "<u4")
    need = (int(place_B.max()) + 1) * channels
    if len(word_X) < need:
        word_X = np.concatenate([word_X, np.zeros(need - len(word_X), np.uint32)])
    mean_BC, share_BC = unpack(word_X[: len(word_X) // channels * channels].reshape(-1, channels)[place_B])
    mean_BC = mean_BC + np.array([0.0 if level is None else level for level in head.level])
    for block, sums, counts in head.open:
        if block >= first:
            count_C = np.array(counts)
            mean_BC[block - first] = np.where(count_C > 0, np.array(sums) / np.maximum(count_C, 1), np.nan)
            share_BC[block - first] = np.minimum(count_C / slots, 1.0)
    return CoarseWindow(head.block_ns, first, mean_BC, share_BC.astype(np.float32))


def widen(head: CoarseHead, window: CoarseWindow | None, width: int, slots: float) -> bytes:
    """`width` more channels: changes `head`, returns the ring laid out anew."""
    head.level = [*head.level, *[None] * width]
    head.open = [(block, [*sums, *[0.0] * width], [*counts, *[0] * width]) for block, sums, counts in head.open]
    if window is None:
        return b""
    channels = len(head.level)
    level = np.array([0.0 if at is None else at for at in head.level])
    mean_BC = np.pad(window.mean_BC, ((0, 0), (0, width)), constant_values=np.nan) - level
    share_BC = np.pad(window.share_BC, ((0, 0), (0, width)))
    place_B = (np.arange(window.first, window.first + len(mean_BC)) - head.base) % BLOCKS
    word_XC = np.zeros((int(place_B.max()) + 1, channels), "<u4")
    word_XC[place_B] = pack(mean_BC, share_BC)
    return word_XC.tobytes()
