"""Stacked tensors that grow: a row for each (stream, channel), a place for each stream; freed blocks are used again.

Shapes: R rows that are asked for
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from detector.model.row_types import Rows

_FIRST = 64  # rows to begin with; doubled whenever full
Shapes = Mapping[str, tuple[int, ...]]  # name → shape without the leading R or S


def together(at_R: Tensor) -> Tensor | slice:
    """The same index, as a slice where rows stand one after another: tables are then not copied."""
    first, many = int(at_R[0]), len(at_R)
    one_by_one = bool((at_R == torch.arange(first, first + many, device=at_R.device)).all())
    return slice(first, first + many) if one_by_one else at_R


class Place(NamedTuple):
    """Where a stream stands."""

    start: int  # first of its rows
    channels: int
    seat: int  # among the streams


class Tables:
    """Rows and streams of one layout, float32 on one device."""

    def __init__(self, row_fields: Shapes, stream_fields: Shapes, device: torch.device) -> None:
        self.rows: Rows = {n: _empty((_FIRST, *s), device) for n, s in row_fields.items()}
        self.streams: Rows = {n: _empty((_FIRST, *s), device) for n, s in stream_fields.items()}
        self._rows_used = 0
        self._streams_used = 0
        self._free_rows: dict[int, list[int]] = {}
        self._free_streams: list[int] = []

    def add(self, rows: Mapping[str, Tensor], stream: Mapping[str, Tensor]) -> Place:
        """Store a student. What this layout has and the student lacks (another teacher's parts) becomes NaN."""
        channels = len(next(iter(rows.values())))
        blocks = self._free_rows.get(channels)
        start = blocks.pop() if blocks else self._rows_used
        if start == self._rows_used:
            self._rows_used += channels
            self.rows = _grown(self.rows, self._rows_used)
        seat = self._free_streams.pop() if self._free_streams else self._streams_used
        if seat == self._streams_used:
            self._streams_used += 1
            self.streams = _grown(self.streams, self._streams_used)
        for name, table in self.rows.items():
            table[start : start + channels] = rows[name].to(table) if name in rows else torch.nan
        for name, table in self.streams.items():
            table[seat] = stream[name].to(table)
        return Place(start, channels, seat)

    def free(self, place: Place) -> None:
        """Give a student's place back."""
        self._free_rows.setdefault(place.channels, []).append(place.start)
        self._free_streams.append(place.seat)


def _empty(shape: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.full(shape, torch.nan, device=device)


def _grown(tables: Rows, needed: int) -> Rows:
    have = len(next(iter(tables.values()), ()))
    if needed <= have or not tables:
        return tables
    size = max(needed, 2 * have)
    return {
        name: torch.cat([table, _empty((size - have, *table.shape[1:]), table.device)])
        for name, table in tables.items()
    }
