"""Rows of a table → a series on its grid, by the functions with which the streamer does it.

Shapes: N rows of the table, M cells, S slots, C channels.
"""

from functools import partial

import numpy as np
import structlog

from streamer.settings import StreamerSettings
from streamer.timestamps import NS
from streamer.windows.counters import counting_channels
from streamer.windows.grid import DIFFERENCES, Grid, given_grid, infer_grid, slots_of
from streamer.windows.header import StreamHeader
from streamer.windows.open_window import OpenWindow, Waiting
from streamer.windows.resample import FINEST
from streamer.windows.review import WATCHED, Review
from streamer.windows.scale import scale_of
from trainer.backtest.series import Series, SourceError
from trainer.backtest.tables import Reading, Table

log = structlog.get_logger(__name__)

# A table that fills less than this share of its grid has a wrong time stamp in it, or a wrong interval.
SPARSEST = 1 / 50
# Cells put on the grid in one call: `OpenWindow.place` lays out the slots between its lowest and highest one.
CELLS_A_CALL = 100_000


def on_grid(table: Table, reading: Reading) -> Series:
    """A stream's rows → its window, as the streamer would build it from the same rows in the same order."""
    if table.ts_N is None:
        labels_S = table.labels_N
        values_SC = table.values_NC.astype(np.float32)
        return Series(table.stream, values_SC, _split(len(values_SC), reading.train), labels_S, table.channels)
    channels = len(table.channels)
    cell_ts_M = np.repeat(table.ts_N, channels)
    channel_M = np.tile(np.arange(channels), len(table.ts_N))
    value_M = table.values_NC.ravel()
    grid, counters, first = _grid_of(table, cell_ts_M, channel_M, value_M, reading)
    cell_ts_M, channel_M, value_M = cell_ts_M[first:], channel_M[first:], value_M[first:]
    slot_M = slots_of(cell_ts_M, grid.interval_ns, grid.phase_ns)
    low, high = int(slot_M.min()), int(slot_M.max())
    span = high - low + 1
    if len(slot_M) < SPARSEST * span * channels:
        raise SourceError(
            f"{table.stream}: {len(table.ts_N)} rows lie on a grid of {span} slots of {grid.interval_ns / NS:g} s; "
            "one of the time stamps is wrong, or give the interval with --interval-s"
        )
    placed = partial(_placed, table, grid, cell_ts_M, channel_M, value_M, slot_M)
    values_SC, scale, doubted = placed(counters)
    # The whole table is known: channels are from the beginning what they turn out to be.
    if doubted and reading.kind == "auto":
        values_SC, scale, _ = placed([counts != (c in doubted) for c, counts in enumerate(counters)])
    labels_S = (
        None if table.labels_N is None else _labels(slot_M[::channels] - low, table.labels_N[first // channels :], span)
    )
    return Series(
        table.stream, values_SC, _split(span, reading.train), labels_S, table.channels, None, grid.interval_ns,
        grid.phase_ns, low, True, scale,
    )  # fmt: skip


def _placed(
    table: Table, grid: Grid, ts_M: np.ndarray, channel_M: np.ndarray, value_M: np.ndarray, slot_M: np.ndarray,
    counters: list[bool],
) -> tuple[np.ndarray, tuple[tuple[float, float], ...], set[int]]:  # fmt: skip
    """Values on the grid (S, C) as a ring has them, their scale, and the channels that are not what they were taken for, counter or gauge."""
    channels, low, span = len(table.channels), int(slot_M.min()), int(slot_M.max() - slot_M.min()) + 1
    window = OpenWindow(StreamHeader(), StreamerSettings.model_fields["lateness_slots"].default)
    begin = value_M[: (DIFFERENCES + 1) * channels].reshape(-1, channels)
    scale = [scale_of(begin[:, c]) for c in range(channels)]
    window.enter_grid(grid, list(table.channels), [counts or None for counts in counters], span, scale=scale)
    values_SC = np.full((span, channels), np.nan, np.float32)
    for at in range(0, len(slot_M), CELLS_A_CALL):
        part = slice(at, at + CELLS_A_CALL)
        change = window.place(slot_M[part], channel_M[part], ts_M[part], value_M[part])
        first = change.first - low
        values_SC[first : first + len(change.values_NC)] = change.values_NC
        for (slot, channel), value in change.old.items():
            values_SC[slot - low, channel] = value
    return values_SC, tuple(window.header.scale), set(window.doubted)


def _grid_of(
    table: Table, ts_M: np.ndarray, channel_M: np.ndarray, value_M: np.ndarray, reading: Reading
) -> tuple[Grid, list[bool], int]:
    """Grid and counting channels, from as many rows as the streamer waits for, and the first cell that is on the grid.

    The grid is the one that the stream has in the end: what came before on a coarser one is left out, as the streamer does.
    """
    assert table.ts_N is not None
    distinct = np.sort(np.unique(table.ts_N, return_index=True)[1])
    channels = len(table.channels)
    enough = len(distinct) > DIFFERENCES
    if not enough and reading.interval_s is None:
        raise SourceError(
            f"{table.stream}: {len(distinct)} distinct time stamps are too few to infer an interval "
            f"({DIFFERENCES + 1} are needed): give --interval-s"
        )
    end = (int(distinct[DIFFERENCES if enough else -1]) + 1) * channels
    waiting = Waiting(
        ts_M[:end].tolist(), [table.channels[c] for c in channel_M[:end]], value_M[:end].tolist(), [False] * end
    )
    counting = counting_channels(waiting, reading.kind)
    counters = [bool(counting.get(name)) for name in table.channels]
    if reading.interval_s is not None:
        return given_grid(reading.interval_s, int(ts_M[0])), counters, 0
    grid, first = _last_grid(table.ts_N, (end - 1) // channels + 1)
    if not grid.regular:
        raise SourceError(
            f"{table.stream}: its time stamps follow no interval (the nearest is {grid.interval_ns / NS:g} s); "
            "such a stream is kept but not judged: give --interval-s"
        )
    if first:
        log.warning("rows before a shorter interval are left out", series=table.stream, rows=first)
    return grid, counters, first * channels


def _last_grid(ts_N: np.ndarray, begin: int) -> tuple[Grid, int]:
    """The grid that the rows are on in the end, and the first row from which on none was on a coarser one."""
    grid = infer_grid(ts_N[:begin])
    review = Review(newest_ns=int(ts_N[:begin].max()))
    grids, at = [(0, grid)], begin
    while (count := review.scan(grid.interval_ns, grid.regular, ts_N[at:])) is not None:
        at += count
        if (other := review.decide(grid)) is not None:
            grid = other
            grids.append((at - WATCHED, grid))  # the watched rows follow it already
        if at >= len(ts_N):
            break
    coarser = [i for i, (_, before) in enumerate(grids) if FINEST * before.interval_ns > grid.interval_ns]
    return grid, grids[coarser[-1] + 1][0] if coarser else 0


def _labels(slot_N: np.ndarray, labels_N: np.ndarray, span: int) -> np.ndarray:
    """A slot is labelled when any of its rows is; a gap when both of its neighbours are."""
    known_S = np.full(span, -1, np.int8)
    np.maximum.at(known_S, slot_N, labels_N.astype(np.int8))
    at = np.flatnonzero(known_S >= 0)
    before_S = np.clip(np.searchsorted(at, np.arange(span), side="right") - 1, 0, None)
    after_S = np.clip(np.searchsorted(at, np.arange(span)), None, len(at) - 1)
    labels_S: np.ndarray = np.minimum(known_S[at[before_S]], known_S[at[after_S]]) > 0
    return labels_S


def _split(slots: int, train: float) -> int:
    return round(slots * train) if train < 1 else int(train)
