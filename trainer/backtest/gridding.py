"""Rows of a table → a series on its grid, by the functions with which the streamer does it.

Shapes: N rows of the table, M cells, S slots, C channels.
"""

import numpy as np

from streamer.settings import StreamerSettings
from streamer.timestamps import NS
from streamer.windows.counters import counting_channels
from streamer.windows.grid import DIFFERENCES, Grid, given_grid, infer_grid, slots_of
from streamer.windows.header import StreamHeader
from streamer.windows.open_window import OpenWindow, Waiting
from trainer.backtest.series import Series, SourceError
from trainer.backtest.tables import Reading, Table

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
    grid, counters = _grid_of(table, cell_ts_M, channel_M, value_M, reading)
    slot_M = slots_of(cell_ts_M, grid.interval_ns, grid.phase_ns)
    low, high = int(slot_M.min()), int(slot_M.max())
    span = high - low + 1
    if len(table.ts_N) < SPARSEST * span:
        raise SourceError(
            f"{table.stream}: {len(table.ts_N)} rows lie on a grid of {span} slots of {grid.interval_ns / NS:g} s; "
            "one of the time stamps is wrong, or give the interval with --interval-s"
        )
    header = StreamHeader(
        state="grid", grid_version=1, interval_ns=grid.interval_ns, phase_ns=grid.phase_ns, capacity=span,
        channels=list(table.channels), counters=counters, last_raw=[None] * channels, last_raw_slot=[0] * channels,
    )  # fmt: skip
    window = OpenWindow(header, min(StreamerSettings.model_fields["lateness_slots"].default, span))
    values_SC = np.full((span, channels), np.nan, np.float32)
    for at in range(0, len(slot_M), CELLS_A_CALL):
        part = slice(at, at + CELLS_A_CALL)
        change = window.place(slot_M[part], channel_M[part], cell_ts_M[part], value_M[part])
        first = change.first - low
        values_SC[first : first + len(change.values_NC)] = change.values_NC
        for (slot, channel), value in change.old.items():
            values_SC[slot - low, channel] = value
    labels_S = None if table.labels_N is None else _labels(slot_M[::channels] - low, table.labels_N, span)
    return Series(
        table.stream, values_SC, _split(span, reading.train), labels_S, table.channels, None, grid.interval_ns,
        grid.phase_ns, low,
    )  # fmt: skip


def _grid_of(
    table: Table, ts_M: np.ndarray, channel_M: np.ndarray, value_M: np.ndarray, reading: Reading
) -> tuple[Grid, list[bool]]:
    """Grid and counting channels, from as many rows as the streamer waits for."""
    if reading.interval_s is not None:
        return given_grid(reading.interval_s, int(ts_M[0])), [False] * len(table.channels)
    assert table.ts_N is not None
    distinct = np.sort(np.unique(table.ts_N, return_index=True)[1])
    if len(distinct) <= DIFFERENCES:
        raise SourceError(
            f"{table.stream}: {len(distinct)} distinct time stamps are too few to infer an interval "
            f"({DIFFERENCES + 1} are needed): give --interval-s"
        )
    end = (int(distinct[DIFFERENCES]) + 1) * len(table.channels)
    waiting = Waiting(
        ts_M[:end].tolist(), [table.channels[c] for c in channel_M[:end]], value_M[:end].tolist(), [False] * end
    )
    grid = infer_grid(np.array(waiting.ts, np.int64))
    if not grid.regular:
        raise SourceError(
            f"{table.stream}: its time stamps follow no interval (the nearest is {grid.interval_ns / NS:g} s); "
            "such a stream is kept but not judged: give --interval-s"
        )
    return grid, counting_channels(waiting, "auto")


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
