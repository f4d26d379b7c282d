"""A window that goes on under another grid version: its interval changed, or a channel is not what it was taken for.

Shapes: S slots of the window as it is, N slots of the one that goes on, C channels, R recent rows,
X known values of one channel
"""

from dataclasses import replace

import numpy as np

from streamer.windows.coarse import CoarseHead, block_ns_of
from streamer.windows.grid import Grid, slots_of
from streamer.windows.header import StreamHeader
from streamer.windows.increments import EXACT, increases, raw_before
from streamer.windows.open_window import CARRIED, NEVER, OpenWindow, RingChange
from streamer.windows.resample import resample
from streamer.windows.ring import StreamWindow
from streamer.windows.scale import PLAIN, scale_from, scale_of, stored_scale


def follow(ring: StreamWindow | None, header: StreamHeader, change: RingChange) -> StreamWindow:
    """The whole window as it is after a change: a grid that is changed takes it over. `ring`: as it was, None: empty."""
    values_SC = np.full((header.hi - header.lo + 1, len(header.channels)), np.nan, np.float32)
    before = [] if ring is None else [(ring.header.lo, ring.values_SC)]
    for first, rows in (*before, (change.first, change.values_NC)):
        low, high = max(first, header.lo), min(first + len(rows), header.hi + 1)
        if high > low:
            values_SC[low - header.lo : high - header.lo, : rows.shape[1]] = rows[low - first : high - first]
    for (slot, channel), value in change.old.items():
        if slot >= header.lo:
            values_SC[slot - header.lo, channel] = value
    return StreamWindow(replace(header), values_SC, None if ring is None else ring.coarse)


def change_grid(window: OpenWindow, grid: Grid, lo: int, values_SC: np.ndarray) -> np.ndarray:
    """Go on under a new grid version, with the history as far as it means the same there.

    Args:
        lo: slot of the first row of `values_SC`, the whole window as it is.

    Returns:
        The window, float32 (N, C) from `header.lo` on. The caller rewrites the ring, and the blocks where they are others.
    """
    header, before = window.header, window.header.grid
    newest = _newest_raw(window)
    first, values_NC = resample(values_SC, lo, before, grid, header.counters, window.mean)
    cut = max(0, len(values_NC) - header.capacity)
    first, values_NC = first + cut, values_NC[cut:]
    if header.history_hi >= 0:
        at_ns = np.array([header.slot_ns(header.history_hi)])
        header.history_hi = int(slots_of(at_ns, grid.interval_ns, grid.phase_ns)[0])
    header.coarse = _blocks_on(window, grid)
    header.state = "grid" if grid.regular else "irregular"
    header.interval_ns, header.phase_ns = grid.interval_ns, grid.phase_ns
    header.renumber()
    header.lo, header.hi = (first, first + len(values_NC) - 1) if len(values_NC) else (0, -1)
    _fill_recent(window, values_NC, newest)
    return values_NC


def _newest_raw(window: OpenWindow) -> list[tuple[int, float] | None]:
    """Instant and raw value of the newest cell of every counter, as far as known."""
    found: list[tuple[int, float] | None] = []
    for c, counts in enumerate(window.header.counters):
        known = np.flatnonzero(np.isfinite(window.raw_RC[:, c]) & (window.ts_RC[:, c] > CARRIED) & counts)
        before = window.header.last_raw[c]
        if len(known):
            row = known[window.ts_RC[known, c].argmax()]
            found.append((int(window.ts_RC[row, c]), float(window.raw_RC[row, c])))
        else:
            found.append(None if before is None else (window.header.slot_ns(window.header.last_raw_slot[c]), before))
    return found


def _blocks_on(window: OpenWindow, grid: Grid) -> CoarseHead | None:
    """The blocks so far, those of counters in increases over the new interval; else none yet."""
    head, block_ns = window.header.coarse, block_ns_of(grid.interval_ns)
    if head is None or block_ns != head.block_ns:
        return None if block_ns is None else CoarseHead.of_channels(block_ns, window.header.channels)
    ratio_C = np.where(window.header.counters, grid.interval_ns / window.header.interval_ns, 1.0)
    head.level = [None if level is None else level * r for level, r in zip(head.level, ratio_C.tolist(), strict=True)]
    head.unit = (np.array(head.unit) * ratio_C).tolist()
    head.open = [(block, (np.array(sums) * ratio_C).tolist(), counts) for block, sums, counts in head.open]
    return head


def _fill_recent(window: OpenWindow, values_NC: np.ndarray, newest: list[tuple[int, float] | None]) -> None:
    """Recent rows of a window that was carried over: any point that comes for their slots wins."""
    header, rows = window.header, min(window.rows, len(values_NC))
    window.clear()
    tail_NC = values_NC[len(values_NC) - rows :].astype(np.float64)
    first = header.hi - rows + 1
    scale = scale_from(header.scale)
    raw_NC = tail_NC.copy() if scale is None else scale.data(tail_NC)
    header.last_raw, header.last_raw_slot = [None] * len(header.channels), [0] * len(header.channels)
    for c in np.flatnonzero(header.counters).tolist():
        raw_NC[:, c] = np.nan
        if (known := newest[c]) is None:
            continue
        slot = int(slots_of(np.array([known[0]]), header.interval_ns, header.phase_ns)[0])
        raw_NC[:, c] = raw_before(tail_NC[:, c], slot - first, known[1])
        at = np.flatnonzero(np.isfinite(raw_NC[:, c]))
        if not len(at):
            header.last_raw[c], header.last_raw_slot[c] = known[1], slot
        elif np.isfinite(tail_NC[at[0], c]):
            header.last_raw[c] = float(raw_NC[at[0], c] - tail_NC[at[0], c])
            header.last_raw_slot[c] = first + int(at[0]) - 1
    at = np.arange(first, header.hi + 1) % window.rows
    there = np.isfinite(raw_NC)
    window.raw_RC[at], window.n_RC[at] = raw_NC, there
    window.ts_RC[at] = np.where(there, CARRIED, NEVER)


def change_kinds(window: OpenWindow, lo: int, values_SC: np.ndarray) -> np.ndarray:
    """Doubted counters become gauges and doubted gauges counters, under a new grid version.

    Args:
        lo: slot of the first row of `values_SC`, the whole window as it is.

    Returns:
        The window as it is then, float32 (S, C). The caller rewrites ring, recent rows and blocks.
    """
    header = window.header
    made_SC = values_SC.astype(np.float64)
    pairs = list(header.scale) or [PLAIN] * len(header.channels)
    for c, fell in window.doubted.items():
        at, raw = window.recent(c)
        if fell is not None:
            # What lies between that fall and the recent rows cannot be told from the increases: it may have fallen again.
            made_SC[:, c] = raw_before(values_SC[:, c], fell[0] - lo, fell[1])
            made_SC[made_SC[:, c] < 0, c] = np.nan  # behind a reset
            made_SC[at - lo, c] = raw
            header.last_raw[c] = None
            pairs[c] = offset, unit = scale_of(raw)
            made_SC[:, c] = (made_SC[:, c] - offset) / unit
        else:
            made_SC[np.abs(made_SC[:, c]) >= EXACT, c] = np.nan
            made_SC[:, c] = made_SC[:, c] * pairs[c][1] + pairs[c][0]
            pairs[c] = PLAIN
            made_SC[at - lo, c] = raw
            known = np.flatnonzero(np.isfinite(made_SC[:, c]))
            older = known[known < len(made_SC) - window.rows]
            if len(older):
                header.last_raw[c], header.last_raw_slot[c] = float(made_SC[older[-1], c]), lo + int(older[-1])
            header.highest[c] = float(np.nanmax(made_SC[:, c])) if len(known) else 0.0
            made_SC[known, c] = increases(made_SC[known, c], known, None, 0, header.highest[c]).value_X
        header.counters[c] = not header.counters[c]
    header.scale = stored_scale(pairs)
    header.renumber()
    window.doubted.clear()
    return made_SC.astype(np.float32)
